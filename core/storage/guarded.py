"""A `Storage` that has a breaker know how each of its calls went."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from core.breaker import Breaker
from core.errors import ObjectRetained, StorageDenied, StorageUnavailable
from core.storage import ObjectInfo, ObjectReader, Storage


class GuardedStorage:
    """Passes everything on to another storage. Calls are never held back: what begins them is."""

    def __init__(self, storage: Storage, breaker: Breaker) -> None:
        self._storage, self._breaker = storage, breaker

    def put(self, key: str, data: bytes | Path, *, content_type: str, sha256: str, replaces: bool = False) -> None:
        """See `Storage.put`."""
        with self._recorded():
            self._storage.put(key, data, content_type=content_type, sha256=sha256, replaces=replaces)

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        """See `Storage.open`."""
        with self._recorded():
            reader = self._storage.open(key, start=start, end=end, fresh=fresh)
        return ObjectReader(reader.info, self._chunks(reader), reader.close)

    def get(self, key: str, *, max_bytes: int, sha256: str | None = None) -> bytes:
        """See `Storage.get`."""
        with self._recorded():
            return self._storage.get(key, max_bytes=max_bytes, sha256=sha256)

    def head(self, key: str) -> ObjectInfo:
        """See `Storage.head`."""
        with self._recorded():
            return self._storage.head(key)

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        with self._recorded():
            self._storage.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        return self._storage.list(prefix)

    def presigned_url(
        self, key: str, expires: timedelta | None = None, *, download_name: str | None = None
    ) -> str | None:
        """See `Storage.presigned_url`."""
        return self._storage.presigned_url(key, expires, download_name=download_name)

    def check(self) -> None:
        """See `Storage.check`."""
        self._storage.check()

    def peculiarities(self) -> Sequence[str]:
        """See `Storage.peculiarities`."""
        return self._storage.peculiarities()

    def close(self) -> None:
        """See `Storage.close`."""
        self._storage.close()

    def _chunks(self, reader: ObjectReader) -> Iterator[bytes]:
        with self._recorded():
            yield from reader

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        try:
            yield
        except ObjectRetained:
            # It answers; it is this object that it keeps.
            self._breaker.record_success()
            raise
        except (StorageUnavailable, StorageDenied):
            self._breaker.record_failure()
            raise
        self._breaker.record_success()
