"""No object is forgotten and none is deleted that a row refers to."""

import hashlib
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from codec.encode.dependencies import EncodeDependencies
from codec.encode.pipeline import Encoded
from codec.options import EncodeOptions
from core.archive import bitstreams, deletions, images, object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound, StorageUnavailable
from core.owners.view import EVERYTHING
from core.storage.keys import bitstream_key, original_key
from core.storage.local import LocalStorage
from models import Image, ImageState
from models.base import new_id, utc_now
from models.pending_deletion import PendingDeletion
from workers.context import WorkContext
from workers.encode.resources import EncodeResources
from workers.encode.task import EncodeTask

DATA = b"a stream"
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = bitstream_key(SHA256)
OBJECT = NewObject(KEY, SHA256, len(DATA))


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "objects")
    storage.put(KEY, DATA, content_type="application/octet-stream", sha256=SHA256)
    return storage


def _add_image(database: Database) -> str:
    image_id = new_id("img")
    with database.write() as session:
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
            )
        )
        object_lifecycle.retain(session, OBJECT)
    return image_id


def _sweep_later(database: Database, storage: LocalStorage) -> int:
    return deletions.sweep(database, storage, now=utc_now() + 2 * object_lifecycle.RESERVATION)


def test_object_of_a_process_that_died_before_recording_is_swept(database: Database, storage: LocalStorage) -> None:
    object_lifecycle.reserve(database, KEY)
    assert deletions.sweep(database, storage) == 0, "it may still be recorded"
    assert _sweep_later(database, storage) == 1
    with pytest.raises(ObjectNotFound):
        storage.head(KEY)


def test_recorded_object_stays(database: Database, storage: LocalStorage) -> None:
    object_lifecycle.reserve(database, KEY)
    _add_image(database)
    assert _sweep_later(database, storage) == 0
    assert storage.head(KEY).size_bytes == len(DATA)


def test_object_that_was_swept_before_it_was_recorded_is_stored_again(
    database: Database, storage: LocalStorage
) -> None:
    """A machine slept, or a batch took more than an hour to come in."""
    object_lifecycle.reserve(database, KEY)
    assert _sweep_later(database, storage) == 1
    with pytest.raises(StorageUnavailable), database.write() as session:
        object_lifecycle.retain(session, OBJECT)
    object_lifecycle.reserve(database, KEY)
    with database.write() as session:
        object_lifecycle.retain(session, OBJECT)


def test_second_image_of_an_object_needs_no_reservation_of_its_own(database: Database, storage: LocalStorage) -> None:
    _add_image(database)
    with database.write() as session:
        object_lifecycle.retain(session, OBJECT)


def test_sweep_that_meets_a_store_which_is_away_goes_on_at_the_next_pass(
    database: Database, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        with database.write() as session:
            object_lifecycle.drop(session, original_key(f"img_{number}", "png"), shared=False)
    tried: list[str] = []

    def away(key: str) -> None:
        tried.append(key)
        raise StorageUnavailable("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", away)
        assert deletions.sweep(database, storage, now=utc_now() + timedelta(seconds=1)) == 0
    assert len(tried) == 1
    assert deletions.sweep(database, storage, now=utc_now() + timedelta(seconds=1)) == 3


def test_object_shared_by_two_images_goes_with_the_last(database: Database, storage: LocalStorage) -> None:
    first, second = _add_image(database), _add_image(database)
    with database.write() as session:
        images.delete_image(session, first, EVERYTHING)
    assert _sweep_later(database, storage) == 0
    with database.write() as session:
        images.delete_image(session, second, EVERYTHING)
    assert deletions.sweep(database, storage) == 0, "somebody may be about to refer to it"
    assert _sweep_later(database, storage) == 1


def test_image_that_arrives_while_its_stream_is_let_go_keeps_it(database: Database, storage: LocalStorage) -> None:
    first = _add_image(database)
    object_lifecycle.reserve(database, KEY)  # a second encode of the same content begins
    with database.write() as session:
        images.delete_image(session, first, EVERYTHING)
    _add_image(database)
    assert _sweep_later(database, storage) == 0
    assert storage.head(KEY).size_bytes == len(DATA)


def test_original_goes_at_the_next_sweep(database: Database, storage: LocalStorage) -> None:
    key = original_key(new_id("img"), "png")
    storage.put(key, DATA, content_type="image/png", sha256=SHA256)
    with database.write() as session:
        object_lifecycle.drop(session, key, shared=False)
    assert deletions.sweep(database, storage, now=utc_now() + timedelta(seconds=1)) == 1
    with pytest.raises(ObjectNotFound):
        storage.head(key)


def test_images_that_share_a_stream_can_be_deleted_at_once(database: Database, storage: LocalStorage) -> None:
    ids = [_add_image(database) for _ in range(8)]
    faults: list[BaseException] = []
    start = threading.Barrier(len(ids))

    def _delete(image_id: str) -> None:
        start.wait()
        try:
            with database.write() as session:
                images.delete_image(session, image_id, EVERYTHING)
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    threads = [threading.Thread(target=_delete, args=(image_id,)) for image_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert _sweep_later(database, storage) == 1


def test_rows_that_cannot_be_swept_hold_up_no_other(database: Database, storage: LocalStorage) -> None:
    past = utc_now() - timedelta(days=1)
    with database.write() as session:
        session.add_all(PendingDeletion(key=f"nonsense/{number}", due_at=past) for number in range(3))
        session.add(PendingDeletion(key=KEY, due_at=utc_now()))
    now = utc_now() + timedelta(seconds=1)
    assert deletions.sweep(database, storage, now=now, limit=3) == 0
    assert deletions.sweep(database, storage, now=now, limit=3) == 1


def test_damaged_object_is_replaced_by_the_next_one_that_is_stored(database: Database, storage: LocalStorage) -> None:
    object_lifecycle.reserve(database, KEY)
    _add_image(database)
    _damage(storage, b"a steam!")
    object_lifecycle.store(database, storage, OBJECT, DATA)
    with pytest.raises(ObjectCorrupt):
        bitstreams.get(database, storage, SHA256)
    assert object_lifecycle.is_damaged(database, KEY)
    object_lifecycle.store(database, storage, OBJECT, DATA)
    assert bitstreams.get(database, storage, SHA256) == DATA
    assert not object_lifecycle.is_damaged(database, KEY)


def test_object_of_another_size_is_replaced_at_once(database: Database, storage: LocalStorage) -> None:
    _damage(storage, b"half")
    object_lifecycle.store(database, storage, OBJECT, DATA)
    assert bitstreams.get(database, storage, SHA256) == DATA
    with pytest.raises(ObjectCorrupt):
        object_lifecycle.store(database, storage, OBJECT, b"no such data")
    assert bitstreams.get(database, storage, SHA256) == DATA


def test_encode_replaces_a_damaged_stream_that_nothing_refers_to(database: Database, storage: LocalStorage) -> None:
    _damage(storage, b"a steam!")
    task = EncodeTask(
        context=cast(WorkContext, SimpleNamespace(database=database, storage=storage)),
        resources=cast(EncodeResources, None),
        image=Image(),
        options=EncodeOptions(),
        dependencies=cast(EncodeDependencies, None),
    )
    encoded = cast(Encoded, SimpleNamespace(data=DATA))
    assert task._read_back(encoded, SHA256) == DATA


def _damage(storage: LocalStorage, data: bytes) -> None:
    storage._path(KEY).write_bytes(data)
