"""Objects are deleted outside of transactions, and never under somebody who reserved them meanwhile."""

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.archive import bitstreams, deletions, images, object_lifecycle
from core.database import Database
from core.errors import StorageDenied, StorageUnavailable
from core.owners.view import EVERYTHING
from core.storage.keys import original_key
from core.storage.local import LocalStorage
from models import Batch, Image, ImageState, ObjectKind, PendingDeletion, StoredObject
from models.base import new_id, utc_now

DATA = b"a stream"
SHA256 = hashlib.sha256(DATA).hexdigest()
LATER = 2 * object_lifecycle.RESERVATION


class SlowStorage(LocalStorage):
    """A folder whose deletions wait for `answer`, or fail with `fault`."""

    fault: BaseException | None = None

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.answer = threading.Event(), threading.Event()
        self.answer.set()

    def delete(self, key: str) -> None:
        self.begun.set()
        assert self.answer.wait(10)
        if self.fault is not None:
            raise self.fault
        super().delete(key)


@pytest.fixture
def storage(tmp_path: Path) -> SlowStorage:
    return SlowStorage(tmp_path / "objects")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _add_image(database: Database) -> str:
    image_id = new_id("img")
    with database.write() as session:
        bitstreams.retain(session, SHA256, len(DATA))
        session.add(
            Image(
                id=image_id,
                name="a",
                state=ImageState.READY,
                width=1,
                height=1,
                media_type="image/png",
                options={},
                bitstream_sha256=SHA256,
                bitstream_bytes=len(DATA),
            )
        )
    return image_id


def _store(database: Database, storage: SlowStorage) -> str:
    bitstreams.put(database, storage, DATA, SHA256)
    return _add_image(database)


def _delete(database: Database, image_id: str) -> None:
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)


def _begin_sweep(database: Database, storage: SlowStorage, pool: ThreadPoolExecutor) -> "Future[int]":
    storage.begun.clear()
    storage.answer.clear()
    sweep = pool.submit(deletions.sweep, database, storage, now=utc_now() + LATER)
    assert storage.begun.wait(10)
    return sweep


def _pending(database: Database) -> PendingDeletion | None:
    with database.read() as session:
        return session.scalars(select(PendingDeletion)).one_or_none()


def test_stream_that_comes_back_while_it_is_deleted_is_stored_after_the_deletion(
    database: Database, storage: SlowStorage, pool: ThreadPoolExecutor
) -> None:
    _delete(database, _store(database, storage))
    sweep = _begin_sweep(database, storage, pool)
    stored = pool.submit(_store, database, storage)
    with pytest.raises(TimeoutError):
        stored.result(timeout=0.5)
    storage.answer.set()
    assert (sweep.result(10), len(stored.result(10))) == (1, 30)
    assert bitstreams.get(database, storage, SHA256) == DATA
    assert deletions.sweep(database, storage, now=utc_now() + LATER) == 0


def test_others_write_while_the_store_deletes(
    database: Database, storage: SlowStorage, pool: ThreadPoolExecutor
) -> None:
    _delete(database, _store(database, storage))
    sweep = _begin_sweep(database, storage, pool)
    with database.write() as session:
        session.add(Batch(name="not held up"))
    assert not sweep.done()
    storage.answer.set()
    assert sweep.result(10) == 1


def test_process_that_slept_past_its_reservation_cannot_refer_to_what_is_being_deleted(
    database: Database, storage: SlowStorage, pool: ThreadPoolExecutor
) -> None:
    bitstreams.put(database, storage, DATA, SHA256)
    sweep = _begin_sweep(database, storage, pool)
    with pytest.raises(StorageUnavailable):
        _add_image(database)
    storage.answer.set()
    assert sweep.result(10) == 1


def test_two_sweeps_at_once_delete_an_object_once(
    database: Database, storage: SlowStorage, pool: ThreadPoolExecutor
) -> None:
    _delete(database, _store(database, storage))
    first = _begin_sweep(database, storage, pool)
    assert deletions.sweep(database, storage, now=utc_now() + LATER) == 0
    storage.answer.set()
    assert first.result(10) == 1
    assert _pending(database) is None


def test_key_whose_deletion_was_not_answered_is_not_written_until_the_deletion_cannot_come_any_more(
    database: Database, storage: SlowStorage
) -> None:
    _delete(database, _store(database, storage))
    storage.fault = StorageUnavailable("no answer")
    due = utc_now() + object_lifecycle.RESERVATION
    assert deletions.sweep(database, storage, now=due) == 0
    with pytest.raises(StorageUnavailable, match="not answered"):
        bitstreams.put(database, storage, DATA, SHA256)
    storage.fault = None
    assert deletions.sweep(database, storage, now=due) == 1
    with pytest.raises(StorageUnavailable, match="not answered"):  # the first one may still come
        bitstreams.put(database, storage, DATA, SHA256)
    with database.write() as session:
        session.execute(update(PendingDeletion).values(blocked_until=utc_now() - timedelta(seconds=1)))
    _store(database, storage)
    assert bitstreams.get(database, storage, SHA256) == DATA
    assert deletions.sweep(database, storage, now=utc_now() + LATER) == 0


def test_blocked_key_is_free_and_forgotten_after_the_longest_delay(database: Database, storage: SlowStorage) -> None:
    _delete(database, _store(database, storage))
    due = utc_now() + object_lifecycle.RESERVATION
    storage.fault = StorageUnavailable("no answer")
    deletions.sweep(database, storage, now=due)
    storage.fault = None
    deletions.sweep(database, storage, now=due)
    assert _pending(database) is not None
    deletions.sweep(database, storage, now=due + object_lifecycle.LONGEST_DELAY)
    assert _pending(database) is None


def test_key_that_cannot_be_deleted_holds_up_no_other(
    database: Database, storage: SlowStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [original_key(f"img_{number}", "png") for number in range(3)]
    for key in keys:
        with database.write() as session:
            object_lifecycle.drop(session, key, shared=False)
    with database.write() as session:
        session.add(PendingDeletion(key="no key of ours", due_at=utc_now() - LATER))
    tried: list[str] = []

    def _fail_for_the_first(key: str) -> None:
        tried.append(key)
        if key == keys[0]:
            raise StorageUnavailable("no answer")

    monkeypatch.setattr(storage, "delete", _fail_for_the_first)
    due = utc_now() + timedelta(seconds=1)
    assert deletions.sweep(database, storage, now=due) == 0
    assert deletions.sweep(database, storage, now=due) == 2
    assert tried == [keys[0], keys[1], keys[2], keys[0]]


def test_refused_deletion_blocks_nothing(database: Database, storage: SlowStorage) -> None:
    _delete(database, _store(database, storage))
    storage.fault = StorageDenied("no right to delete")
    assert deletions.sweep(database, storage, now=utc_now() + LATER) == 0
    storage.fault = None
    _store(database, storage)
    assert bitstreams.exists(storage, SHA256)


def test_deletion_of_a_killed_sweep_is_done_again_after_the_longest_delay(
    database: Database, storage: SlowStorage
) -> None:
    _delete(database, _store(database, storage))
    due = utc_now() + object_lifecycle.RESERVATION
    storage.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        deletions.sweep(database, storage, now=due)
    storage.fault = None
    assert deletions.sweep(database, storage, now=due) == 0
    assert deletions.sweep(database, storage, now=due + object_lifecycle.LONGEST_DELAY) == 1
    assert (_pending(database), bitstreams.exists(storage, SHA256)) == (None, False)


def test_no_image_loses_its_stream_while_many_store_delete_and_sweep_it(
    database: Database, storage: SlowStorage, pool: ThreadPoolExecutor
) -> None:
    is_over, was_deleted = threading.Event(), threading.Event()

    def _come_and_go() -> int:
        rounds = 0
        give_up_at = time.monotonic() + 45
        while (rounds < 6 or not was_deleted.is_set()) and time.monotonic() < give_up_at:
            try:
                image_id = _store(database, storage)
            except StorageUnavailable:  # swept before it was recorded
                continue
            assert bitstreams.get(database, storage, SHA256) == DATA
            _delete(database, image_id)
            rounds += 1
        return rounds

    def _sweep() -> None:
        while not is_over.wait(0.01):  # A moment in which a slow machine records what it stored
            # An hour ahead: what was dropped is due, and what was reserved and not yet recorded too.
            if deletions.sweep(database, storage, now=utc_now() + object_lifecycle.RESERVATION):
                was_deleted.set()

    sweeps = [pool.submit(_sweep) for _ in range(2)]
    rounds = [pool.submit(_come_and_go) for _ in range(2)]
    try:
        assert min(future.result(60) for future in rounds) >= 6
    finally:
        is_over.set()
    for future in sweeps:
        future.result(60)
    assert was_deleted.is_set()
    _store(database, storage)
    deletions.sweep(database, storage, now=utc_now() + LATER)
    assert bitstreams.get(database, storage, SHA256) == DATA


def test_catalogue_has_what_should_be_there(database: Database, storage: SlowStorage) -> None:
    first, second = _store(database, storage), _add_image(database)
    with database.write() as session:
        bitstreams.note_verified(session, SHA256)
    with database.read() as session:
        row = session.scalars(select(StoredObject)).one()
    assert (row.kind, row.sha256, row.size_bytes, row.location) == (ObjectKind.BITSTREAM, SHA256, len(DATA), row.key)
    assert row.last_verified_at is not None
    for image_id in (first, second):
        _delete(database, image_id)
    assert deletions.sweep(database, storage, now=utc_now() + LATER) == 1
    with database.read() as session:
        assert session.scalars(select(StoredObject)).all() == []
