"""Objects as files in a folder, for one machine or a shared file system. Knows nothing of a network."""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from codec.media import media_type_of
from core.errors import ObjectCorrupt, ObjectNotFound, StorageDenied, StorageUnavailable
from core.storage import CHUNK_BYTES, ObjectInfo, ObjectReader, read_whole
from core.storage.keys import check_key, check_prefix, digest_in, fan_out

_INCOMING = ".incoming"
"""Half-written files lie here, on the same file system as the objects so that they can be renamed into place."""

_ABANDONED_AFTER_SECONDS = 24 * 3600.0
"""A half-written file of this age has no writer any more: no put takes longer than a job may."""

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class LocalStorage:
    """A `Storage` in a folder: `bitstreams/ab/abcd….misc`, 256 folders a kind.

    A file is written elsewhere, synced, and renamed; the folder is synced after it. So a reader never sees half an
    object, and a power cut leaves the object there or not.
    """

    def __init__(self, root: Path) -> None:
        """Create the folder where it is missing and clear away what killed writers left; raises as the methods do."""
        self._root = root.absolute()
        self._incoming = self._root / _INCOMING
        with _file_errors(self._root):
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._clear_abandoned()

    def put(self, key: str, data: bytes | Path, *, content_type: str, sha256: str, replaces: bool = False) -> None:
        """See `Storage.put`. The type is not kept: it follows from the key's extension."""
        path = self._path(key)
        if digest_in(key) not in (None, sha256):
            raise ValueError(f"{key} is named after another digest than {sha256}")
        temporary = self._incoming / secrets.token_hex(16)
        # A source that cannot be opened is the caller's error and stays an OSError.
        with _source(data) as chunks, _file_errors(path):
            try:
                size_bytes = _write(temporary, chunks, sha256, key)
                if not replaces and _is_kept(path, size_bytes, key):
                    return
                if not path.parent.is_dir():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _sync_folder(path.parent.parent)
                    _sync_folder(self._root)
                temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        """See `Storage.open`."""
        path = self._path(key)
        first = max(start or 0, 0)
        with _file_errors(path, key):
            file = path.open("rb")
            try:
                info = _info(key, os.fstat(file.fileno()))
                last = info.size_bytes if end is None else min(end, info.size_bytes)
                file.seek(first)
            except BaseException:
                file.close()
                raise
        return ObjectReader(info, _chunks(file, path, max(last - first, 0)), file.close)

    def get(self, key: str, *, max_bytes: int, sha256: str | None = None) -> bytes:
        """See `Storage.get`."""
        return read_whole(self, key, max_bytes, sha256)

    def head(self, key: str) -> ObjectInfo:
        """See `Storage.head`."""
        path = self._path(key)
        with _file_errors(path, key):
            return _info(key, path.stat())

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        path = self._path(key)
        with _file_errors(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            # Without this a power cut could bring back a picture that was deleted for somebody.
            _sync_folder(path.parent)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. Files that no key names, such as somebody's notes, are passed over."""
        folder, _, beginning = check_prefix(prefix).partition("/")
        with _file_errors(self._root):
            parts = _entries(self._root / folder)
        for part in sorted(parts):
            with _file_errors(part):
                infos = [info for path in sorted(_entries(part)) if (info := self._listed(folder, path, beginning))]
            yield from infos

    def presigned_url(self, key: str, expires: timedelta | None = None, *, download_name: str | None = None) -> None:
        """None: a folder has no addresses, so the API passes the bytes on by itself."""
        check_key(key)

    def check(self) -> None:
        """See `Storage.check`: writes a byte, syncs it and removes it."""
        probe = self._incoming / secrets.token_hex(16)
        with _file_errors(self._root):
            try:
                _write(probe, iter((b"\0",)), None, "a probe")
            finally:
                probe.unlink(missing_ok=True)

    def peculiarities(self) -> Sequence[str]:
        """See `Storage.peculiarities`."""
        return ()

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def _path(self, key: str) -> Path:
        folder, _, name = check_key(key).partition("/")
        return self._root / folder / fan_out(key) / name

    def _listed(self, folder: str, path: Path, beginning: str) -> ObjectInfo | None:
        key = f"{folder}/{path.name}"
        try:
            if path.name.startswith(beginning) and path == self._path(key):
                return _info(key, path.stat())
        except (ValueError, FileNotFoundError):
            # Not one of ours, or deleted since the folder was read.
            return None
        return None

    def _clear_abandoned(self) -> None:
        limit = time.time() - _ABANDONED_AFTER_SECONDS
        for path in self._incoming.iterdir():
            # Another process may be clearing at the same time.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()


@contextlib.contextmanager
def _file_errors(path: Path, key: str | None = None) -> Iterator[None]:
    """Turn an OSError into one of ours: a missing file into ObjectNotFound where `key` names the object."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT and key is not None:
            raise ObjectNotFound(f"{key} is not in storage") from error
        if error.errno in _DENIED:
            raise StorageDenied(f"no right to use {path}: {error.strerror}; check its owner and mode") from error
        if error.errno in _FULL:
            raise StorageUnavailable(f"the disk of {path} is full; make room and try again") from error
        raise StorageUnavailable(f"{path} cannot be used: {error.strerror or error}") from error


def _write(path: Path, chunks: Iterator[bytes], sha256: str | None, key: str) -> int:
    """Write and sync a new file, hashing on the way; returns its size. Raises ObjectCorrupt on another digest."""
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("xb") as target:
        for chunk in chunks:
            digest.update(chunk)
            target.write(chunk)
            size_bytes += len(chunk)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ObjectCorrupt(f"the data for {key} has the digest {digest.hexdigest()}, not {sha256}")
        target.flush()
        os.fsync(target.fileno())
    return size_bytes


@contextlib.contextmanager
def _source(data: bytes | Path) -> Iterator[Iterator[bytes]]:
    if isinstance(data, Path):
        with data.open("rb") as file:
            yield iter(lambda: file.read(CHUNK_BYTES), b"")
    else:
        yield iter((data,))


def _is_kept(path: Path, size_bytes: int, key: str) -> bool:
    try:
        present_bytes = path.stat().st_size
    except FileNotFoundError:
        return False
    if present_bytes != size_bytes:
        raise ObjectCorrupt(
            f"{key} is already stored with {present_bytes} bytes, not {size_bytes}; delete it to store it anew"
        )
    return True


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when the folder that holds the name is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(file: BinaryIO, path: Path, remaining_bytes: int) -> Iterator[bytes]:
    while remaining_bytes > 0:
        with _file_errors(path):
            chunk = file.read(min(CHUNK_BYTES, remaining_bytes))
        if not chunk:
            raise StorageUnavailable(f"{path} ended {remaining_bytes} bytes early")
        remaining_bytes -= len(chunk)
        yield chunk


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size_bytes=status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
        content_type=media_type_of(key),
        sha256=digest_in(key),
    )
