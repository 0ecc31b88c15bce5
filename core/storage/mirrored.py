"""A storage and its mirror as one: what is written and deleted goes to both, reads come from the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from core.settings import MirrorPolicy, MirrorSettings, StorageSettings
from core.storage import ObjectInfo, ObjectReader, Storage, open_storage
from core.storage.keys import MIRRORED


@dataclass(frozen=True)
class Copies:
    """The two places of an object: the archive's storage and its mirror, where it has one."""

    storage: Storage
    mirror: Storage | None = None
    policy: MirrorPolicy = MirrorPolicy.OFF

    def as_one(self) -> Storage:
        """What jobs and requests work with."""
        if self.mirror is None:
            return self.storage
        return MirroredStorage(self.storage, self.mirror, at_once=self.policy is MirrorPolicy.AT_ONCE)


def open_copies(settings: StorageSettings, mirror: MirrorSettings) -> Copies:
    """The storage and the mirror that the settings name; raises as `open_storage` does."""
    storage = open_storage(settings)
    if mirror.policy is MirrorPolicy.OFF:
        return Copies(storage)
    return Copies(storage, open_storage(mirror), mirror.policy)


class MirroredStorage:
    """Passes everything on. Not `at_once`, writes are left to the scrubber; deletions never are."""

    def __init__(self, storage: Storage, mirror: Storage, *, at_once: bool) -> None:
        self._storage, self._mirror, self._at_once = storage, mirror, at_once

    def put(self, key: str, data: bytes | Path, *, content_type: str, sha256: str, replaces: bool = False) -> None:
        """See `Storage.put`: stored when both have it."""
        self._storage.put(key, data, content_type=content_type, sha256=sha256, replaces=replaces)
        if self._at_once and key.startswith(MIRRORED):
            self._mirror.put(key, data, content_type=content_type, sha256=sha256, replaces=replaces)

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        """See `Storage.open`."""
        return self._storage.open(key, start=start, end=end, fresh=fresh)

    def get(self, key: str, *, max_bytes: int, sha256: str | None = None) -> bytes:
        """See `Storage.get`."""
        return self._storage.get(key, max_bytes=max_bytes, sha256=sha256)

    def head(self, key: str) -> ObjectInfo:
        """See `Storage.head`."""
        return self._storage.head(key)

    def delete(self, key: str) -> None:
        """See `Storage.delete`: deleted when neither has it, so that deleting means it."""
        self._storage.delete(key)
        if key.startswith(MIRRORED):
            self._mirror.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        return self._storage.list(prefix)

    def presigned_url(
        self, key: str, expires: timedelta | None = None, *, download_name: str | None = None
    ) -> str | None:
        """See `Storage.presigned_url`."""
        return self._storage.presigned_url(key, expires, download_name=download_name)

    def check(self) -> None:
        """See `Storage.check`; both, where nothing is stored without the mirror."""
        self._storage.check()
        if self._at_once:
            self._mirror.check()

    def peculiarities(self) -> Sequence[str]:
        """See `Storage.peculiarities`."""
        return (*self._storage.peculiarities(), *self._mirror.peculiarities())

    def close(self) -> None:
        """See `Storage.close`."""
        self._storage.close()
        self._mirror.close()
