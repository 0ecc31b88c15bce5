"""Whether a file can be weights at all, by its own frame: whole safetensors, or a whole archive of PyTorch.

Needs no PyTorch and reads no tensor. A digest says more; this is for files of which nobody has published one.
"""

import json
import zipfile
from pathlib import Path

from codec.errors import WeightsCorrupt

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin; they have no frame that tells their length."""

_MAX_HEADER_BYTES = 100_000_000
_LFS = b"version https://git-lfs"
_STRANGERS = (
    (_LFS, "a pointer of Git LFS and not the file it points to; fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page, perhaps one that asks to log in"),
    (b"<!doctype", "a web page, perhaps one that asks to log in"),
    (b"<html", "a web page, perhaps one that asks to log in"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"%PDF", "a PDF document"),
)


def check_content(path: Path) -> None:
    """Raise WeightsCorrupt, in one sentence that says what the file is instead, unless it can be weights."""
    if (fault := _fault_of(path)) is not None:
        raise WeightsCorrupt(f"{path} is {fault}.")


def is_readable(path: Path) -> bool:
    """True for a file that is there and can be weights."""
    try:
        return _fault_of(path) is None
    except OSError:
        return False


def _fault_of(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        for beginning, what in _STRANGERS:
            if head.lstrip().startswith(beginning):
                return what
        if head.startswith(b"PK\x03\x04"):
            return _archive_fault(path)
        if head.startswith(_LEGACY):
            return None
        length = int.from_bytes(head[:8], "little")
        if len(head) < 16 or not 2 <= length <= _MAX_HEADER_BYTES or head[8:9] != b"{":
            return "no file of weights: neither safetensors nor what PyTorch saves"
        file.seek(8)
        return _tensors_fault(file.read(length), length, size)


def _archive_fault(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "cut off: the archive's end is not there"
    if not any(name.endswith(("data.pkl", ".pkl")) for name in names):
        return "an archive, but none that PyTorch saved"
    return None


def _tensors_fault(header: bytes, length: int, size: int) -> str | None:
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return "damaged: its list of tensors cannot be read" if len(header) == length else "cut off"
    if not entries:
        return "without any tensor"
    return None if 8 + length + end == size else f"cut off: its tensors take {8 + length + end} bytes, it has {size}"
