"""Reads the tensors of a checkpoint file without running anything that the file brings along.

Knows formats and layouts, no networks. Reads safetensors, what `torch.save` wrote (zip or the older form), and
TorchScript archives; everything else is refused. Digests are the store's matter, before a file gets here.
"""

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codec.errors import WeightsCorrupt
from codec.nets.loading.pickle_names import RefusedPickle, check_names, loading_names
from codec.nets.loading.torchscript import read_torchscript_tensors
from codec.weights.digest import Identity

LAYOUTS = ("network", "state_dict", "model_state_dict")
"""Keys under which trainers put the tensors, in the order in which the published decoder looks for them."""

_MAX_PICKLE_BYTES = 64 * 1024 * 1024
"""The pickle holds names and shapes; that of the largest published file has less than 1 MB."""

_MAX_ENTRIES = 20_000
"""The largest published file has 2,405 tensors."""

_MAX_HEADER_BYTES = 100_000_000
"""What the safetensors format itself allows."""

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number that files of torch before 1.6 begin with."""

_MALFORMED = (
    AssertionError, AttributeError, EOFError, IndexError, KeyError, MemoryError, OSError, OverflowError, RecursionError,
    RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What torch, zipfile and pickle raise for data that contradicts itself, or claims memory that there is not."""


class _Format(Enum):
    SAFETENSORS = "safetensors"
    ZIP = "zip"
    TORCHSCRIPT = "torchscript"
    LEGACY = "legacy"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU, in the types of the file, mapped where the format allows.

    The layouts of `unwrap_state` are taken apart, and the `module.` that data parallelism puts before all names is
    dropped; entries that are no tensors are left out. Raises WeightsMissing without the file, and WeightsCorrupt for a
    damaged file, one that could run code, or one without tensors.
    """
    state = unwrap_state(read_checkpoint(path))
    tensors = {key: value.detach() for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        keys = ", ".join(str(key)[:40] for key in list(state)[:5]) or "nothing"
        raise WeightsCorrupt(
            f"{path} holds no tensors by name, neither directly nor under {', '.join(LAYOUTS)}; it has {keys}."
        )
    _check_claims(path, tensors)
    if all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return tensors


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """All that a checkpoint holds, still in its layout; the same errors as `read_tensors`."""
    before = Identity.of(path)
    try:
        content = _READERS[_format_of(path)](path)
    except RefusedPickle as error:
        raise WeightsCorrupt(
            f"{path} is refused: {error}. A file of tensors alone does not need that. If you trust where it is from, "
            "load it in a place of its own and save its tensors with safetensors.torch.save_file."
        ) from None
    except (SafetensorError, *_MALFORMED) as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise WeightsCorrupt(f"{path} cannot be read as a checkpoint: {reason}") from None
    if Identity.of(path) != before:
        raise WeightsCorrupt(f"{path} changed while it was read. Wait until whatever writes to it has ended.")
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WeightsCorrupt(f"{path} holds a {type(content).__name__}, not tensors by name.")
    return content


def unwrap_state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tensors by name out of any published layout: under one of LAYOUTS, or bare."""
    for key in LAYOUTS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and all(isinstance(name, str) for name in inner):
            return inner
    return content


def _format_of(path: Path) -> _Format:
    """Told by content, since names lie. Tar archives, bare pickles and all else have no reader here."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_LEGACY_MAGIC))
    if head == _LEGACY_MAGIC:
        return _Format.LEGACY
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path, size)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(_MAX_HEADER_BYTES, size - 8):
        return _Format.SAFETENSORS
    raise ValueError("it is neither safetensors nor what torch.save writes, or it is cut off")


def _zip_format(path: Path, size: int) -> _Format:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_ENTRIES:
        raise ValueError(f"it has {len(entries)} entries")
    # PyTorch packs the source code of a TorchScript archive, which is not read, and nothing else: whatever is packed
    # or larger than the file is a bomb.
    read = [entry for entry in entries if entry.filename.split("/")[1:2] != ["code"]]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in read) or sum(e.file_size for e in read) > size:
        raise ValueError("its entries are packed, or claim more than the file has")
    # Two readers must not take two different entries for the same one.
    if len({e.filename.casefold() for e in read}) != len(read) or len({name.split("/")[0] for name in names}) != 1:
        raise ValueError("its entries have no name of their own")
    is_script = len(read) < len(entries) or any(name.endswith("/constants.pkl") for name in names)
    return _Format.TORCHSCRIPT if is_script else _Format.ZIP


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        entry = archive.getinfo(f"{root}/data.pkl")
        if entry.file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has {entry.file_size} bytes")
        check_names(archive.read(entry), pickles=1)
    with loading_names():
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _read_legacy(path: Path) -> Any:
    # The version and the machine come as pickles of their own before the content. Sizes in the content are claims, and
    # torch asks the system for that much memory before it looks whether the file has it; but none of it is touched.
    with path.open("rb") as file:
        file.seek(len(_LEGACY_MAGIC))
        check_names(file.read(_MAX_PICKLE_BYTES), pickles=3)
    with loading_names():
        return torch.load(path, map_location="cpu", weights_only=True)


_READERS: dict[_Format, Callable[[Path], Any]] = {
    _Format.SAFETENSORS: load_file,
    _Format.ZIP: _read_zip,
    _Format.TORCHSCRIPT: read_torchscript_tensors,
    _Format.LEGACY: _read_legacy,
}


def _check_claims(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse views that stand for more than the file has: a stride of 0 makes terabytes out of one number."""
    size, total = path.stat().st_size, 0
    if len(tensors) > _MAX_ENTRIES:
        raise WeightsCorrupt(f"{path} has {len(tensors)} tensors; at most {_MAX_ENTRIES} are read.")
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise WeightsCorrupt(f"{path}: the entry {key!r} is no dense tensor.")
        total += tensor.numel() * tensor.element_size()
    # Networks share tensors between layers, so that some are told twice.
    if total > 2 * size:
        raise WeightsCorrupt(f"{path} has {size} bytes and claims {total} bytes of tensors.")
