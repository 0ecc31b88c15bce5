"""Object storage behind one interface: whole objects that are written once, read in pieces and deleted.

Knows no table and no job. Backends raise the errors of `core.errors` only; nothing above sees a vendor's.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from core.errors import ObjectCorrupt, SettingsInvalid
from core.settings import StorageBackend, StorageSettings
from core.storage.verified import verified

CHUNK_BYTES = 256 * 1024
"""What is read at a time: large against the cost of a call, small against memory."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows of an object without its bytes."""

    key: str
    size_bytes: int
    modified_at: datetime
    content_type: str | None = None
    """None in listings of stores that do not have it there."""
    sha256: str | None = None
    """As recorded at writing or named by the key, else None; nothing is computed for it."""
    etag: str | None = None
    """The store's own, opaque; None for the local folder."""


class ObjectReader:
    """An open object: iterate once for its chunks, close when done. Reading to the end closes it too."""

    def __init__(self, info: ObjectInfo, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self.info = info
        self._chunks = chunks
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        """Chunks of at most CHUNK_BYTES. Raises StorageUnavailable when the store breaks off in the middle."""
        try:
            yield from self._chunks
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def read_whole(self, max_bytes: int) -> bytes:
        """All bytes; raises ObjectCorrupt for more than `max_bytes` (nothing is read then)."""
        key = self.info.key
        if self.info.size_bytes > max_bytes:
            raise ObjectCorrupt(f"{key} has {self.info.size_bytes} bytes; at most {max_bytes} were expected")
        return b"".join(self)

    def close(self) -> None:
        """Give the file or connection back; may be called more than once, and before everything was read."""
        self._close()


class Storage(Protocol):
    """Objects by key. Every method may raise StorageUnavailable (try again) and StorageDenied (somebody must act).

    Keys come from `core.storage.keys`; any other raises ValueError. All methods may be called from many threads.
    """

    def put(self, key: str, data: bytes | Path, *, content_type: str, sha256: str, replaces: bool = False) -> None:
        """Store an object under its key, whole or not at all, from memory or from a file.

        An object that is already there is kept, unless the new one `replaces` it because it is damaged. `sha256` is
        the digest of the data, in lower-case hex. Raises ObjectCorrupt when the data has another digest (nothing is
        stored), or when the object already there has another size.
        """
        ...

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        """Open an object, or its bytes `[start, end)`; a range past the end is cut off as in a Python slice.

        The reader's `info` has the size of the whole object. A `fresh` read shares no connection with an earlier one.
        Raises ObjectNotFound here, not while reading.
        """
        ...

    def get(self, key: str, *, max_bytes: int, sha256: str | None = None) -> bytes:
        """Read a whole small object; one that does not have the digest `sha256` is read a second time.

        Raises ObjectNotFound, ObjectCorrupt when it is larger than `max_bytes` (it is not read then) or has another
        digest, and StorageUnavailable when its bytes were others each time.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size, type and digest of an object; raises ObjectNotFound."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; that it is not there is no error.

        After StorageUnavailable it is not known whether the object was deleted, nor whether it will be: a request that
        was not answered in time may still be carried out. No request is sent twice, so that an answer settles it.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects of a folder (`bitstreams/`), or those whose names begin like this, in no promised order.

        Read in pages while it is iterated, so that millions fit: objects that come or go may be listed or not.
        """
        ...

    def presigned_url(
        self, key: str, expires: timedelta | None = None, *, download_name: str | None = None
    ) -> str | None:
        """An address that anybody may read the object from until it expires; None where the store has no such thing.

        `expires` is rounded down to whole seconds, at least one; None means the time in the settings. Whether the
        object is there is not checked.
        """
        ...

    def check(self) -> None:
        """Raise unless the store can be reached and written to, within a few seconds. For readiness."""
        ...

    def peculiarities(self) -> Sequence[str]:
        """What whoever runs an archive here has to know of the place, in sentences: of versions and locks."""
        ...

    def close(self) -> None:
        """Give connections back; nothing may be called afterwards."""
        ...


def read_whole(storage: Storage, key: str, max_bytes: int, sha256: str | None) -> bytes:
    """What `Storage.get` does, in terms of `open`."""

    def _read(fresh: bool) -> tuple[str, bytes]:
        with storage.open(key, fresh=fresh) as reader:
            data = reader.read_whole(max_bytes)
        return hashlib.sha256(data).hexdigest() if sha256 is not None else "", data

    return verified(_read, key, sha256 or "")


def open_storage(settings: StorageSettings) -> Storage:
    """The storage that the settings name. Does not reach out to it: that is what `check` is for.

    Raises SettingsInvalid for an address or a prefix that is none, and StorageDenied for a folder that cannot be used.
    """
    if settings.backend is StorageBackend.S3:
        # Imported here so that a process on a local folder does not carry the vendor's library.
        from core.storage.s3 import S3Storage

        try:
            return S3Storage(settings)
        except ValueError as error:
            raise SettingsInvalid(f"The MISC_STORAGE_ settings cannot be used: {error}") from None
    from core.storage.local import LocalStorage

    return LocalStorage(settings.path)
