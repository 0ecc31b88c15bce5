"""Reads what `torch.save` and TorchScript pickled, with a short list of harmless names in place of real classes.

Nothing of the file is run: every name stands for a class or function of this module, and storages are views into the
file, so that nothing larger than the file is allocated. `torch.load` refuses TorchScript, and builds byte arrays and
tensors of any claimed size.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

FindStorage = Callable[[str, torch.dtype, int], torch.Tensor]
"""Given a storage's key, type and number of values, its values as a flat tensor."""

_DTYPES = {
    "BFloat16": torch.bfloat16, "Bool": torch.bool, "Byte": torch.uint8, "Char": torch.int8, "Double": torch.float64,
    "Float": torch.float32, "Half": torch.float16, "Int": torch.int32, "Long": torch.int64, "Short": torch.int16,
}  # fmt: skip


class RefusedPickle(Exception):
    """The pickle mentions something that a file of tensors does not need."""


class Module:
    """Stands for an object of TorchScript, or one that a trainer left next to the weights: attributes, no behaviour."""

    attributes: Mapping[Any, Any] = {}

    def __init__(self, *_: Any) -> None:
        pass

    def _forget(self, *_: Any) -> None:
        """What a list, a set or a dictionary of the trainer's would take in."""

    append = extend = add = __setitem__ = _forget


def _view(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> torch.Tensor:
    try:
        values: torch.Tensor = storage.as_strided(size, stride, offset)
    except RuntimeError as error:
        raise ValueError(f"a tensor claims what its storage does not have ({error})") from None
    return values


def _first(value: Any, *_: Any) -> Any:
    """A parameter's tensor, or the values of a typed list."""
    return value


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """Instead of a dictionary that calls something for missing keys."""
    return {}


def _tuple(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


def _encode(text: str, codec: str) -> bytes:
    """Bytes, as the pickle protocol that PyTorch uses writes them: the one codec that makes nothing larger."""
    if codec != "latin1":
        raise RefusedPickle("it packs bytes in a way that PyTorch does not use")
    return text.encode("latin1")


_NAMES: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _plain_dict,
    "torch.Size": _tuple,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch.nn.parameter.Parameter": _first,
    "_codecs.encode": _encode,
    **{f"torch.{kind}Storage": dtype for kind, dtype in _DTYPES.items()},
    **{str(dtype): dtype for dtype in _DTYPES.values()},
    **dict.fromkeys(
        (
            "builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list", "builtins.str",
            "builtins.complex", "builtins.frozenset", "builtins.range", "builtins.set", "builtins.slice",
            "builtins.xrange", "collections.Counter", "collections.deque", "datetime.date", "datetime.datetime",
            "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
            "argparse.Namespace", "types.SimpleNamespace", "typing.Any", "torch.device",
            "torch.torch_version.TorchVersion",
            "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.WindowsPath",
            "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
            "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
            "addict.addict.Dict", "easydict.EasyDict", "box.box.Box", "yacs.config.CfgNode",
            "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode",
            "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "pytorch_lightning.utilities.parsing.AttributeDict",
        ),
        Module,
    ),
}  # fmt: skip
"""What PyTorch writes for tensors, and what is found next to them in checkpoints: options, dates, paths and figures of
a training (Stable Diffusion's have the callback and NumPy's scalars)."""


def load(data: bytes, find_storage: FindStorage) -> Any:
    """The content of one pickle. Raises RefusedPickle for a name beyond the list, and whatever pickle raises."""
    return _Unpickler(data, find_storage).load()


# The one in C makes room for whatever a pickle claims to remember; this one keeps what it remembers in a dictionary.
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, data: bytes, find_storage: FindStorage) -> None:
        super().__init__(io.BytesIO(data))
        self._find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if module.split(".")[0] == "__torch__":
            return Module
        if module == "torch.jit._pickle":
            return _first
        if full not in _NAMES:
            raise RefusedPickle(f"it names {full}, and unpickling that could run code")
        return _NAMES[full]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage; `pid` is ("storage", type, key, device, number of values) and, in the older form, a view of it."""
        kind, dtype, key, _device, count, *view = pid
        is_storage = kind == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str)
        if not is_storage or not isinstance(count, int) or count < 0 or any(view):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        return self._find_storage(key, dtype, count)

    def load_build(self) -> None:
        # An attribute of anything but these would outlive the file.
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, Module):
            built.attributes = state if isinstance(state, dict) else {}
        elif not isinstance(built, OrderedDict):
            raise RefusedPickle(f"it changes a {type(built).__name__}")

    dispatch[pickle.BUILD[0]] = load_build

    def _refuse(self) -> None:
        # Room for as many bytes as are claimed would be made before the first is read.
        raise RefusedPickle("it has bytes in a form that PyTorch does not use")

    for _form in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER):
        dispatch[_form[0]] = _refuse
