"""What is imported: a folder or a tar of unknown hands. Tells which files there are and reads them; unpacks nothing.

Only regular files with plain names are let through. A tar has to have exactly the form in which exports are written, so
that no byte of it, padding included, can be changed unseen.
"""

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from core.archive.exchange.errors import ExportInvalid
from core.archive.exchange.ledger import File
from core.archive.exchange.vessels import TAR_FOLDER
from core.storage import CHUNK_BYTES

_LONGEST_PATH = 300
_PATH = re.compile(r"(?:[0-9A-Za-z_%=-][0-9A-Za-z._%=-]*/)*[0-9A-Za-z_%=-][0-9A-Za-z._%=-]*")

_BLOCK = tarfile.BLOCKSIZE
_CHECKSUM = slice(148, 156)


class Source(Protocol):
    """A place with files."""

    def files(self) -> Iterator[File]:
        """Every file that is there, without its digest; raises ExportInvalid for anything but plain files."""
        ...

    def open(self, file: File) -> IO[bytes]:
        """The bytes of a file, at their beginning."""
        ...

    def close(self) -> None:
        """Give files back."""
        ...


def open_source(path: Path) -> Source:
    """The folder or tar at `path`; raises ExportInvalid where there is neither, and OSError."""
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise ExportInvalid(f"There is no folder and no file {path}.")
    return TarSource(path)


class FolderSource:
    """Files of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self) -> Iterator[File]:
        """See `Source.files`."""
        return self._in(self._root)

    def _in(self, folder: Path) -> Iterator[File]:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = _checked(path.relative_to(self._root).as_posix())
                if entry.is_dir(follow_symlinks=False):
                    yield from self._in(path)
                elif entry.is_file(follow_symlinks=False):
                    yield File(name, entry.stat(follow_symlinks=False).st_size)
                else:
                    raise ExportInvalid(f"{name} is a link or a device. An export has plain files only.")

    def open(self, file: File) -> IO[bytes]:
        """See `Source.open`."""
        try:
            # Not through a link that took the place of the file since, nor into a pipe that nobody writes to.
            descriptor = os.open(self._root / file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ExportInvalid(f"{file.path} cannot be read: {error.strerror}.") from None
        opened = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != file.size_bytes:
            opened.close()
            raise ExportInvalid(f"{file.path} changes while it is imported. Wait until whatever writes it has ended.")
        return opened

    def close(self) -> None:
        """See `Source.close`: nothing is kept open."""


class TarSource:
    """Files of a tar that is not compressed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = path.open("rb")

    def files(self) -> Iterator[File]:
        """See `Source.files`."""
        end = os.fstat(self._tar.fileno()).st_size
        offset = 0
        while True:
            self._tar.seek(offset)
            block = self._tar.read(_BLOCK)
            if block == bytes(_BLOCK):
                break
            file = self._file_of(block, offset + _BLOCK)
            padding = -file.size_bytes % _BLOCK
            offset = file.offset + file.size_bytes + padding
            if offset > end:
                raise self._invalid("it is cut off")
            self._tar.seek(offset - padding)
            if self._tar.read(padding) != bytes(padding):
                raise self._invalid(f"there is something between {file.path} and the next file")
            yield file
        size_bytes = offset + 2 * _BLOCK
        if end != size_bytes + -size_bytes % tarfile.RECORDSIZE or any(self._tar.read(tarfile.RECORDSIZE)):
            raise self._invalid("its end is not that of a tar")

    def open(self, file: File) -> IO[bytes]:
        """See `Source.open`. One is read at a time."""
        return io.BufferedReader(_Section(self._tar, file.offset, file.size_bytes))

    def close(self) -> None:
        """See `Source.close`."""
        self._tar.close()

    def _file_of(self, block: bytes, offset: int) -> File:
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.TarError, ValueError):
            raise self._invalid("it is cut off, compressed or damaged, or no tar at all") from None
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise self._invalid(f"it has {info.name[:100]!r}, which is no plain file")
        # Of this field alone some bytes do not count in the sum that guards the others.
        if block[_CHECKSUM] != b"%06o\0 " % info.chksum or not info.name.startswith(f"{TAR_FOLDER}/"):
            raise self._invalid(f"it was not written by misc export: {info.name[:100]!r}")
        return File(_checked(info.name.removeprefix(f"{TAR_FOLDER}/")), info.size, offset=offset)

    def _invalid(self, reason: str) -> ExportInvalid:
        return ExportInvalid(f"{self._path} is no tar of an export: {reason}.")


class _Section(io.RawIOBase):
    """So many bytes of a file from an offset on."""

    def __init__(self, file: IO[bytes], offset: int, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._file.read(min(len(buffer), self._left, CHUNK_BYTES))
        buffer[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)


def _checked(path: str) -> str:
    if len(path) > _LONGEST_PATH or _PATH.fullmatch(path) is None:
        raise ExportInvalid(f"{path[:100]!r} is no name of a file of an export.")
    return path
