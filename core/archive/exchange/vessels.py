"""What an export is written into: a folder or a tar. Both go on where a killed process left them."""

import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from codec.atomic_files import replacing
from core.archive.exchange.errors import ExportImpossible
from core.archive.exchange.ledger import File
from core.storage import CHUNK_BYTES

TAR_FOLDER = "misc-export"
"""All files of a tar lie in one folder, as a bag's must. It has one name, so that equal exports are equal tars."""

_ORDER = ".export-order.json"
"""Says in a folder that is not finished what it is to become."""

_LARGEST_IN_TAR = 8**11 - 1
"""The size of a file has eleven octal digits in the header of a tar (POSIX ustar)."""


class Vessel(Protocol):
    """Takes files in the order of their paths, then the manifests; until it is finished it is no export."""

    def has(self, file: File) -> bool:
        """Whether an earlier run wrote the file whole and with its digest."""
        ...

    def add(self, file: File, content: IO[bytes]) -> None:
        """Write a file, whole or not at all as far as a later run can tell."""
        ...

    def finish(self, is_part: Callable[[str], bool]) -> None:
        """Make it an export. What an earlier run left, and `is_part` says does not belong to it, goes."""
        ...

    def close(self) -> None:
        """Let another process go on."""
        ...


def open_vessel(target: Path, order: bytes) -> Vessel:
    """The tar or folder at `target`: new, or left unfinished by a run of the same `order`.

    Raises ExportImpossible where something else is there, and OSError.
    """
    if target.suffix == ".tar":
        return TarVessel(target)
    return FolderVessel(target, order)


class FolderVessel:
    """A folder. Each file is renamed into its place when it is whole."""

    def __init__(self, target: Path, order: bytes) -> None:
        self._root = target
        note = target / _ORDER
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not note.is_file())):
            raise ExportImpossible(f"There is something at {target} already. Name a folder that is not there.")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(note, target)
        present = note.read_bytes()
        if present not in (b"", order):
            os.close(self._lock)
            raise ExportImpossible(f"In {target} is an unfinished export of something else. Name another folder.")
        note.write_bytes(order)

    def has(self, file: File) -> bool:
        """See `Vessel.has`."""
        path = self._root / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256

    def add(self, file: File, content: IO[bytes]) -> None:
        """See `Vessel.add`."""
        with replacing(self._root / file.path) as part, part.open("wb") as target:
            shutil.copyfileobj(content, target, CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())

    def finish(self, is_part: Callable[[str], bool]) -> None:
        """See `Vessel.finish`."""
        for folder, _, names in os.walk(self._root):
            for path in (Path(folder) / name for name in names if name != _ORDER):
                if not is_part(path.relative_to(self._root).as_posix()):
                    path.unlink()
        (self._root / _ORDER).unlink()

    def close(self) -> None:
        """See `Vessel.close`."""
        os.close(self._lock)


class TarVessel:
    """A tar with the same bytes for the same files: sorted, of user 0, with the moments of the images.

    It is written beside its place. A later run reads what is there, and goes on behind the last file that is whole.
    """

    def __init__(self, target: Path) -> None:
        self._target, self._part = target, target.with_name(f"{target.name}.part")
        if target.exists():
            raise ExportImpossible(f"There is {target} already. Name a file that is not there.")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._part, target)
        self._file = self._part.open("r+b")
        self._is_behind = True

    def has(self, file: File) -> bool:
        """See `Vessel.has`; to be asked for every file in turn."""
        if not self._is_behind:
            return False
        start = self._file.tell()
        if self._file.read(tarfile.BLOCKSIZE) == _header(file) and self._has_content(file):
            return True
        self._is_behind = False
        self._file.seek(start)
        self._file.truncate()
        return False

    def add(self, file: File, content: IO[bytes]) -> None:
        """See `Vessel.add`."""
        self._file.write(_header(file))
        shutil.copyfileobj(content, self._file, CHUNK_BYTES)
        self._file.write(bytes(-file.size_bytes % tarfile.BLOCKSIZE))

    def finish(self, is_part: Callable[[str], bool]) -> None:
        """See `Vessel.finish`."""
        self._file.truncate()
        end = self._file.tell() + 2 * tarfile.BLOCKSIZE
        self._file.write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._target)

    def close(self) -> None:
        """See `Vessel.close`."""
        self._file.close()
        os.close(self._lock)

    def _has_content(self, file: File) -> bool:
        digest, left = hashlib.sha256(), file.size_bytes
        while left > 0:
            chunk = self._file.read(min(left, CHUNK_BYTES))
            if not chunk:
                return False
            digest.update(chunk)
            left -= len(chunk)
        padding = -file.size_bytes % tarfile.BLOCKSIZE
        return digest.hexdigest() == file.sha256 and self._file.read(padding) == bytes(padding)


def _header(file: File) -> bytes:
    if file.size_bytes > _LARGEST_IN_TAR:
        raise ExportImpossible(f"{file.path} is too large for a tar, which takes 8 GiB. Export to a folder.")
    info = tarfile.TarInfo(f"{TAR_FOLDER}/{file.path}")
    info.size, info.mtime, info.mode = file.size_bytes, max(file.moment, 0), 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _locked(path: Path, target: Path) -> int:
    """Make the file and take it for this process; it is given back when the descriptor is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ExportImpossible(f"Another process is writing {target}. Wait for its end.") from None
    return descriptor
