"""Reads the tensors of a checkpoint file without running anything that the file brings along.

Knows formats, no networks. Reads safetensors, what `torch.save` wrote (zip or the older form), and
TorchScript archives; everything else is refused. Digests are the store's matter, before a file gets here.
"""

import io
import mmap
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codec.errors import WeightsCorrupt
from codec.nets.loading.layouts import plain_names, unwrap_state
from codec.nets.loading.restricted_pickle import Module, RefusedPickle, load
from codec.weights.digest import Identity

_MAX_PICKLE_BYTES = 64 * 1024 * 1024
"""The pickle holds names and shapes; that of the largest published file has less than 1 MB."""

_MAX_ENTRIES = 50_000
"""The largest published file has 2,405 tensors; a TorchScript module has several attributes for each."""

_OTHER_ORDER = "a machine of the other byte order wrote it; load it there and save its tensors as safetensors"

_MAX_HEADER_BYTES = 100_000_000
"""What the safetensors format itself allows."""

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number that files of torch before 1.6 begin with."""

_MALFORMED = (
    AssertionError, AttributeError, EOFError, IndexError, KeyError, MemoryError, OSError, OverflowError, RecursionError,
    RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What torch, zipfile and pickle raise for data that contradicts itself, or claims memory that there is not."""

_MAX_DEPTH = 32
"""How deep TorchScript's modules nest. Objects may be shared, so a small pickle could stand for endlessly many."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU, in the types of the file, mapped where the format allows.

    The layouts of `unwrap_state` are taken apart, and names are made plain as `plain_names` says; entries that are no
    tensors are left out. Raises WeightsMissing without the file, and WeightsCorrupt for a damaged file, one that could
    run code, or one without tensors.
    """
    state = unwrap_state(read_checkpoint(path))
    tensors = {key: value.detach() for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        keys = ", ".join(str(key)[:40] for key in list(state)[:5]) or "nothing"
        raise WeightsCorrupt(
            f"{path} holds no tensors by name, neither directly nor in one of its sections; it has {keys}."
        )
    _check_claims(path, tensors)
    return plain_names(tensors)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """All that a checkpoint holds, still in its layout; the same errors as `read_tensors`."""
    before = Identity.of(path)
    try:
        content = _content_of(path)
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
    if isinstance(content, list | tuple):
        # As `torch.save((network.state_dict(), epoch), path)` has it.
        content = next((part for part in content if isinstance(part, Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WeightsCorrupt(f"{path} holds a {type(content).__name__}, not tensors by name.")
    return content


def _content_of(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(len(_LEGACY_MAGIC))
        size = path.stat().st_size
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(_MAX_HEADER_BYTES, size - 8):
            return load_file(path)
        if head != _LEGACY_MAGIC and not head.startswith(b"PK\x03\x04"):
            raise ValueError("it is neither safetensors nor what torch.save writes, or it is cut off")
        # A private copy, page by page where it is written to, because torch warns of tensors over constant memory.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return _read_legacy(mapped) if head == _LEGACY_MAGIC else _read_zip(path, mapped)


def _read_zip(path: Path, mapped: mmap.mmap) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in _checked_entries(archive, len(mapped))}
        root = next(iter(entries)).split("/")[0]
        described = entries[f"{root}/data.pkl"]
        if described.file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has {described.file_size} bytes")
        pickled = archive.read(described)
        order = entries.get(f"{root}/byteorder")
        if order is not None and order.file_size <= 10 and archive.read(order).strip() == b"big":
            raise ValueError(_OTHER_ORDER)
    storages: dict[str, torch.Tensor] = {}

    def find_storage(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        entry = entries[f"{root}/data/{key}"]
        if entry.file_size != count * dtype.itemsize:
            raise ValueError(f"data/{key} has {entry.file_size} bytes, not {count} values")
        if storages.setdefault(key, _values(mapped, _start(mapped, entry), dtype, count)).dtype != dtype:
            raise ValueError(f"data/{key} is claimed to be two things")
        return storages[key]

    content = load(pickled, find_storage)
    return _attributes_of(content) if isinstance(content, Module) else content


def _checked_entries(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The entries apart from a TorchScript archive's source code, which is not read."""
    everything = archive.infolist()
    if len(everything) > _MAX_ENTRIES:
        raise ValueError(f"it has {len(everything)} entries")
    # PyTorch packs the source code and nothing else: whatever is packed or larger than the file is a bomb.
    entries = [entry for entry in everything if entry.filename.split("/")[1:2] != ["code"]]
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise ValueError("its entries are packed, or claim more than the file has")
    # Two readers must not take two different entries for the same one.
    roots = {entry.filename.split("/")[0] for entry in everything}
    if len({e.filename.casefold() for e in entries}) != len(entries) or len(roots) != 1:
        raise ValueError("its entries have no name of their own")
    return entries


def _start(mapped: mmap.mmap, entry: zipfile.ZipInfo) -> int:
    """Where a stored entry's bytes begin: after its own header, in which name and extra field may differ in length."""
    name_length, extra_length = struct.unpack_from("<HH", mapped, entry.header_offset + 26)
    return int(entry.header_offset + 30 + name_length + extra_length)


def _read_legacy(mapped: mmap.mmap) -> Any:
    """Magic number, version and machine as pickles, then the content, the list of its storages, and their values."""
    stream = io.BytesIO(mapped[:_MAX_PICKLE_BYTES])
    pickles = []
    for _ in range(5):
        begun = stream.tell()
        for _operation in pickletools.genops(stream):
            pass
        pickles.append(mapped[begun : stream.tell()])
    machine = load(pickles[2], _no_storage)
    if isinstance(machine, Mapping) and machine.get("little_endian") is False:
        raise ValueError(_OTHER_ORDER)
    described: dict[str, tuple[torch.dtype, int]] = {}

    def describe(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        if described.setdefault(key, (dtype, count)) != (dtype, count):
            raise ValueError(f"storage {key} is claimed to be two things")
        return torch.empty(count, dtype=dtype, device="meta")

    load(pickles[3], describe)
    storages, at = {}, stream.tell()
    for key in load(pickles[4], describe):
        dtype, count = described[key]
        if struct.unpack_from("<q", mapped, at) != (count,):
            raise ValueError(f"storage {key} has another number of values than is claimed")
        storages[key] = _values(mapped, at + 8, dtype, count)
        at += 8 + count * dtype.itemsize
    return load(pickles[3], lambda key, *_: storages[key])


def _no_storage(*_: object) -> torch.Tensor:
    raise ValueError("it refers to a storage before there is one")


def _values(mapped: mmap.mmap, start: int, dtype: torch.dtype, count: int) -> torch.Tensor:
    if start + count * dtype.itemsize > len(mapped):
        raise ValueError("it claims more values than the file has")
    if not count:
        return torch.empty(0, dtype=dtype)
    if start % dtype.itemsize:
        # Processors differ in whether they read numbers across their own borders.
        return torch.frombuffer(bytearray(mapped[start : start + count * dtype.itemsize]), dtype=dtype)
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=start)


def _attributes_of(root: Module) -> dict[str, torch.Tensor]:
    """All tensors that TorchScript's modules hold, parameters, buffers or plain attributes, by dotted name."""
    tensors: dict[str, torch.Tensor] = {}
    names, pending = 0, [("", 0, root)]
    while pending:
        prefix, depth, module = pending.pop()
        names += len(module.attributes)
        if names > _MAX_ENTRIES or depth > _MAX_DEPTH:
            raise ValueError("its modules nest without end")
        for name, value in module.attributes.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, Module):
                pending.append((f"{prefix}{name}.", depth + 1, value))
    return tensors


def _check_claims(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse views that stand for more than the file has: a stride of 0 makes terabytes out of one number."""
    size, total = path.stat().st_size, 0
    if len(tensors) > _MAX_ENTRIES:
        raise WeightsCorrupt(f"{path} has {len(tensors)} tensors; at most {_MAX_ENTRIES} are read.")
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise WeightsCorrupt(f"{path}: the entry {key!r} is no dense tensor.")
        total += tensor.numel() * tensor.element_size()
    # Networks share tensors between layers, so that some are counted twice.
    if total > 2 * size:
        raise WeightsCorrupt(f"{path} has {size} bytes and claims {total} bytes of tensors.")
