"""Reads the tensors of a TorchScript archive, the form of OpenAI's CLIP checkpoints, without running anything in it.

`torch.jit.load` would compile the archive's code with a parser that is not made for hostile files, and PyTorch is
retiring it; `torch.load` refuses such archives unless it may unpickle anything. So the pickle is read here with a
handful of harmless stand-ins.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from codec.errors import WeightsCorrupt

_MAX_PICKLE_BYTES = 16 * 1024 * 1024
"""The pickle holds names and shapes only; that of ViT-L/14 has about 200 KB."""

_MAX_NAMES, _MAX_DEPTH = 50_000, 32
"""Modules and attributes, counted by path, and how deep they nest. Objects may be shared, so a small pickle could
stand for endlessly many paths."""

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}

_MALFORMED = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What pickle, zipfile and torch raise for data that contradicts itself."""


def read_torchscript_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors that the archive's modules hold, parameters, buffers or plain attributes, by dotted name.

    They have the archive's types and lie on the CPU. Raises WeightsCorrupt for an archive that is damaged, is no
    TorchScript, or claims more than it has; nothing larger than the file is allocated.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _flatten(_Unpickler(archive, path.stat().st_size).load())
    except _MALFORMED as error:
        raise WeightsCorrupt(f"{path.name} is no TorchScript archive that can be read: {error}") from error


class _Module:
    """Stands for any object of the archive; keeps its attributes and does nothing."""

    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        # A class with its own __getstate__ may leave something else here, none of which are named tensors.
        self.attributes = state if isinstance(state, dict) else {}


class _Unpickler(pickle.Unpickler):
    """Knows modules, tensors, ordered dictionaries and typed lists. Every other name is refused."""

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int) -> None:
        self._archive, self._left_bytes = archive, file_bytes
        self._storages: dict[str, torch.Tensor] = {}
        entries = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(entries) != 1:
            raise ValueError("it has no single data.pkl")
        self._root = entries[0].removesuffix("data.pkl")
        super().__init__(BytesIO(self._entry(entries[0], _MAX_PICKLE_BYTES)))

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle":
            return _first
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no network's weights need")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """A storage as a flat tensor; `pid` is ("storage", type, key, device, number of values)."""
        kind, dtype, key, _device, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("it refers to something that is no storage")
        if key not in self._storages:
            data = self._entry(f"{self._root}data/{key}", count * dtype.itemsize)
            if len(data) != count * dtype.itemsize:
                raise pickle.UnpicklingError(f"data/{key} has {len(data)} bytes, not {count} values")
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if (storage := self._storages[key]).dtype != dtype or len(storage) != count:
            raise pickle.UnpicklingError(f"data/{key} is claimed to be two things")
        return storage

    def _entry(self, name: str, most_bytes: int) -> bytearray:
        """The bytes of an entry. Entries are stored as they are, so all together have at most the file's size."""
        info = self._archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > min(most_bytes, self._left_bytes):
            raise ValueError(f"{name} is compressed or larger than it may be")
        self._left_bytes -= info.file_size
        # Writable, because torch warns of tensors over memory that is not.
        return bytearray(self._archive.read(info))


def _view(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> torch.Tensor:
    # A stride of 0 would let a few bytes claim any number of values.
    if not isinstance(storage, torch.Tensor) or math.prod(size) > len(storage):
        raise pickle.UnpicklingError("a tensor has more values than its storage")
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_rest: Any) -> Any:
    """What TorchScript's typed lists are built of; the type does not matter here."""
    return value


def _flatten(root: Any) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    names = 0
    pending = [("", 0, root)]
    while pending:
        prefix, depth, module = pending.pop()
        attributes = getattr(module, "attributes", {})
        names += len(attributes)
        if names > _MAX_NAMES or depth > _MAX_DEPTH:
            raise ValueError("its modules nest without end")
        for name, value in attributes.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                pending.append((f"{prefix}{name}.", depth + 1, value))
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors
