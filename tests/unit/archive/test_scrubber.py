"""The scrubber goes through the archive at its pace, goes on where it was, and is held up by no single object."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.archive import fixity
from core.archive.fixity import Outcome
from core.archive.scrubber import Pace, Scrubber
from core.database import Database
from core.errors import StorageUnavailable
from core.settings import FixitySettings
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.base import utc_now
from models.stored_object import StoredObject

AddImage = Callable[..., str]


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("sizes", "seconds"),
    [([0] * 20, 2.0), ([1_000_000] * 3, 3.0), ([100] * 5 + [2_000_000], 2.5)],
    ids=["objects", "bytes", "both"],
)
def test_pace_holds_objects_and_bytes_back(sizes: list[int], seconds: float) -> None:
    time = Time()
    pace = Pace(10, 1_000_000, time.wait, lambda: time.now)
    for size in sizes:
        pace.spend(size)
    assert time.now == pytest.approx(seconds)


def test_pace_does_not_make_up_for_what_was_slow() -> None:
    time = Time()
    pace = Pace(10, 1_000_000, time.wait, lambda: time.now)
    time.wait(100)
    for _ in range(10):
        pace.spend(0)
    assert time.now == pytest.approx(101)


def _scrubber(database: Database, storage: LocalStorage) -> Scrubber:
    unused: Any = None
    return Scrubber(database, unused, Copies(storage), FixitySettings(objects_per_second=10_000))


@pytest.fixture
def old_images(database: Database, add_image: AddImage) -> list[StoredObject]:
    """Five streams that were stored yesterday and never read since."""
    for seed in range(5):
        add_image(seed)
    with database.write() as session:
        session.execute(update(StoredObject).values(created_at=utc_now() - timedelta(days=1)))
    return list(fixity.every(database))


def test_every_object_is_read_once_in_a_period(
    database: Database, storage: LocalStorage, old_images: list[StoredObject]
) -> None:
    assert _scrubber(database, storage).make_pass() == {Outcome.INTACT: 5}
    # Another process goes on where this one was.
    assert _scrubber(database, storage).make_pass() == {}
    assert all(row.last_verified_at is not None for row in fixity.every(database))


def test_object_that_cannot_be_read_holds_up_no_other(
    database: Database, storage: LocalStorage, old_images: list[StoredObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk with a bad sector."""
    bad, opened = old_images[1].key, storage.open

    def _open(key: str, **named: Any) -> Any:
        if key == bad:
            raise StorageUnavailable("cannot be read")
        return opened(key, **named)

    monkeypatch.setattr(storage, "open", _open)
    scrubber = _scrubber(database, storage)
    assert scrubber.make_pass() == {Outcome.INTACT: 4}
    assert scrubber.make_pass() == {}


def test_store_that_is_away_ends_the_pass_and_nothing_is_put_off(
    database: Database, storage: LocalStorage, old_images: list[StoredObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    def _away(key: str, **named: Any) -> Any:
        raise StorageUnavailable("nobody answers")

    scrubber = _scrubber(database, storage)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "open", _away)
        with pytest.raises(StorageUnavailable):
            scrubber.make_pass()
    assert scrubber.make_pass() == {Outcome.INTACT: 5}


def test_damaged_object_is_looked_at_again_after_an_hour_only(
    database: Database, storage: LocalStorage, old_images: list[StoredObject]
) -> None:
    path: Path = storage._path(old_images[0].key)
    path.write_bytes(b"other")
    scrubber = _scrubber(database, storage)
    assert scrubber.make_pass() == {Outcome.INTACT: 4, Outcome.DAMAGED: 1}
    assert scrubber.make_pass() == {}
