"""A read that has the wrong digest is repeated before the object is believed to be damaged."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec.media import MISC
from core.breaker import Breaker
from core.errors import ObjectCorrupt, ObjectNotFound, StorageUnavailable
from core.storage import ObjectReader
from core.storage.guarded import GuardedStorage
from core.storage.keys import bitstream_key
from core.storage.local import LocalStorage
from workers.context import temporary_copy

DATA = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = bitstream_key(SHA256)


class DamagingStorage(LocalStorage):
    """A folder at the end of a line that flips a bit of the reads that `flips` says, at the byte it says."""

    def __init__(self, root: Path, *flips: int | None) -> None:
        super().__init__(root)
        self.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        self.flips = list(flips)
        self.fresh: list[bool] = []

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        reader = super().open(key, start=start, end=end)
        self.fresh.append(fresh)
        flip = self.flips.pop(0) if self.flips else None

        def _chunks() -> Iterator[bytes]:
            for number, chunk in enumerate(reader):
                damaged = bytearray(chunk)
                if flip is not None and number == 0:
                    damaged[flip] ^= 1
                yield bytes(damaged)

        return ObjectReader(reader.info, _chunks(), reader.close)


def _read(storage: DamagingStorage) -> bytes:
    return storage.get(KEY, max_bytes=len(DATA), sha256=SHA256)


def _copy(storage: DamagingStorage) -> bytes:
    with temporary_copy(storage, KEY, SHA256) as path:
        return path.read_bytes()


@pytest.mark.parametrize("read", [_read, _copy])
def test_read_that_was_damaged_once_is_repeated_on_a_connection_of_its_own(tmp_path: Path, read: object) -> None:
    storage = DamagingStorage(tmp_path, 7)
    assert read(storage) == DATA  # type: ignore[operator]
    assert storage.fresh == [False, True]


@pytest.mark.parametrize("read", [_read, _copy])
def test_other_wrong_bytes_each_time_are_the_lines_fault(tmp_path: Path, read: object) -> None:
    with pytest.raises(StorageUnavailable, match="other bytes each time"):
        read(DamagingStorage(tmp_path, 7, 8))  # type: ignore[operator]


@pytest.mark.parametrize("read", [_read, _copy])
def test_same_wrong_bytes_twice_are_the_objects(tmp_path: Path, read: object) -> None:
    with pytest.raises(ObjectCorrupt, match=SHA256):
        read(DamagingStorage(tmp_path, 7, 7))  # type: ignore[operator]


def test_breaker_hears_of_every_call_and_a_missing_object_is_an_answer(tmp_path: Path) -> None:
    breaker = Breaker("storage")
    storage = GuardedStorage(DamagingStorage(tmp_path / "objects"), breaker)
    for _ in range(5):
        with pytest.raises(ObjectNotFound):
            storage.head(bitstream_key(hashlib.sha256(b"never stored").hexdigest()))
    assert breaker.failures == 0 and breaker.admits()
    assert b"".join(storage.open(KEY)) == DATA
    broken = GuardedStorage(DamagingStorage(tmp_path / "more", 7, 8), breaker)
    with pytest.raises(StorageUnavailable):
        broken.get(KEY, max_bytes=len(DATA), sha256=SHA256)
    assert breaker.failures == 1
