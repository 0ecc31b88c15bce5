"""Which names a checkpoint's pickle may mention, judged before PyTorch's weights-only unpickler sees it.

That unpickler runs no foreign code, but it builds byte arrays and tensors of any claimed size; this list is shorter.
"""

import io
import pickletools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from encodings import normalize_encoding
from typing import Any

import torch

_TENSORS = frozenset(
    {
        "collections OrderedDict", "torch Size", "torch device", "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch.nn.parameter Parameter",
        *(f"torch {kind}Storage" for kind in (
            "BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short"
        )),
        *(f"torch {kind}" for kind in (
            "bfloat16", "bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8"
        )),
    }
)  # fmt: skip
"""What PyTorch writes for tensors, as `module name`."""

_ENCODE = "_codecs encode"
"""How bytes are written in the pickle protocol that PyTorch uses."""

_BYTES_TO_BYTES = frozenset(
    {"base64", "base64_codec", "base_64", "bz2", "bz2_codec", "hex", "hex_codec", "quopri", "quopri_codec",
     "quoted_printable", "quotedprintable", "uu", "uu_codec", "zip", "zlib", "zlib_codec"}
)  # fmt: skip
"""Codecs whose output can be encoded again: thirty rounds of `hex` make a gigabyte out of one byte."""


class _Inert:
    """Stands in for what trainers leave beside the weights, so that it need not exist here and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """Instead of a dictionary that calls something for missing keys."""
    return {}


_STAND_INS: dict[str, Any] = {
    "collections defaultdict": _plain_dict,
    **dict.fromkeys(
        (
            "builtins bool", "builtins dict", "builtins float", "builtins int", "builtins list", "builtins str",
            "argparse Namespace", "typing Any",
            "numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar",
            "omegaconf.base ContainerMetadata", "omegaconf.base Metadata", "omegaconf.dictconfig DictConfig",
            "omegaconf.listconfig ListConfig", "omegaconf.nodes AnyNode",
            "pytorch_lightning.callbacks.early_stopping EarlyStopping",
            "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
            "pytorch_lightning.utilities.parsing AttributeDict",
        ),
        _Inert,
    ),
}  # fmt: skip
"""Found beside the tensors of published checkpoints (Stable Diffusion's have the callback and numpy's scalars)."""

_OLD_MODULES = {"__builtin__": "builtins"}
"""Protocol 2 writes the names of Python 2."""

_loading = threading.Lock()
"""PyTorch keeps the stand-ins in one place for all threads."""


class RefusedPickle(Exception):
    """The pickle mentions something that a file of tensors does not need."""


def check_names(data: bytes, *, pickles: int) -> None:
    """Look through the first `pickles` pickles of `data` without building anything.

    Raises RefusedPickle for a name that is not on the list, and ValueError for what is no pickle.
    """
    stream = io.BytesIO(data)
    for _ in range(pickles):
        encodes, repacks = False, False
        for operation, value, _position in pickletools.genops(stream):
            if operation.name in ("GLOBAL", "INST"):
                module, _, name = str(value).partition(" ")
                full = f"{_OLD_MODULES.get(module, module)} {name}"
                encodes |= full == _ENCODE
                if full not in _TENSORS and full not in _STAND_INS and full != _ENCODE:
                    raise RefusedPickle(f"it names {full.replace(' ', '.')}, and unpickling that could run code")
            elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                raise RefusedPickle("it names things in a way that PyTorch does not use")
            elif isinstance(value, str):
                repacks |= normalize_encoding(value).lower() in _BYTES_TO_BYTES
        if encodes and repacks:
            raise RefusedPickle("it packs bytes again and again")


@contextmanager
def loading_names() -> Iterator[None]:
    """PyTorch's weights-only loading accepts the stand-ins inside, nothing that others allowed; one thread at a time.

    Libraries allow the real classes when they are imported, and of two for one name PyTorch takes either.
    """
    stand_ins: list[Any] = [(stand_in, name.replace(" ", ".")) for name, stand_in in _STAND_INS.items()]
    with _loading:
        allowed_by_others = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(stand_ins)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(allowed_by_others)
