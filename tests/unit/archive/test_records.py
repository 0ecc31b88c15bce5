"""Records: what they say, that equal rows give equal bytes, and that a damaged one is never read."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.archive import deletions, images
from core.archive.records import outdate
from core.archive.records.record import ImageRecord
from core.archive.records.writer import count_missing, write_missing
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.owners.view import EVERYTHING
from core.storage.keys import RECORDS, record_key
from core.storage.local import LocalStorage
from models.base import utc_now
from models.image import Image
from models.stored_object import ObjectKind, StoredObject

AddImage = Callable[..., str]

CONTENT = {"items": [{"name": "boat \u2603 \ud800", "detail": "a red \u0000 boat"}], "overall": "A boat."}
"""With what is no Unicode, and what PostgreSQL's text cannot hold."""


def _record_of(database: Database, image_id: str) -> str | None:
    with database.read() as session:
        image = session.get(Image, image_id)
        assert image is not None
        return image.record_sha256


def _read(storage: LocalStorage, sha256: str | None) -> bytes:
    assert sha256 is not None
    return storage.get(record_key(sha256), max_bytes=100_000, sha256=sha256)


def test_record_says_what_the_database_knows(database: Database, storage: LocalStorage, add_image: AddImage) -> None:
    image_id = add_image(owner="alice", name="Boot \u00fc.misc")
    with database.write() as session:
        image = images.get(session, image_id, EVERYTHING)
        images.record_description(session, image, "given", CONTENT)
    assert write_missing(database, storage) == 1
    sha256 = _record_of(database, image_id)
    data = _read(storage, sha256)
    record = ImageRecord.from_bytes(data, "a record")
    assert (record.image.id, record.image.owner, record.image.name) == (image_id, "alice", "Boot \u00fc.misc")
    assert record.description is not None and record.description.content == CONTENT
    assert record.image.networks == {} and record.image.mode == "pixel" and record.job is None and record.batch is None
    with database.read() as session:
        row = session.get(StoredObject, record_key(sha256 or ""))
        assert row is not None and (row.kind, row.size_bytes) == (ObjectKind.RECORD, len(data))
        assert count_missing(session) == 0
    assert write_missing(database, storage) == 0


def test_checksum_can_be_checked_with_what_every_language_has(
    database: Database, storage: LocalStorage, add_image: AddImage
) -> None:
    image_id = add_image()
    write_missing(database, storage)
    data = _read(storage, _record_of(database, image_id))
    content = data[len(b'{"record":') : data.rindex(b',"sha256":"')]
    assert hashlib.sha256(content).hexdigest() == json.loads(data)["sha256"]


def test_same_rows_give_the_same_bytes(database: Database, storage: LocalStorage, add_image: AddImage) -> None:
    image_id = add_image()
    write_missing(database, storage)
    first = _record_of(database, image_id)
    with database.write() as session:
        outdate(session, images.get(session, image_id, EVERYTHING))
    assert _record_of(database, image_id) is None
    assert write_missing(database, storage) == 1
    assert _record_of(database, image_id) == first
    # The deletion of the record that was given up is off: the same bytes are needed again.
    assert deletions.sweep(database, storage, now=utc_now() + timedelta(hours=3)) == 0
    _read(storage, first)


def test_record_goes_with_its_image_and_that_of_another_with_the_same_stream_stays(
    database: Database, storage: LocalStorage, add_image: AddImage
) -> None:
    first, second = add_image(1, owner="alice"), add_image(1, owner="bob")
    write_missing(database, storage)
    gone, kept = _record_of(database, first), _record_of(database, second)
    assert gone != kept
    with database.write() as session:
        images.delete_image(session, first, EVERYTHING)
    deletions.sweep(database, storage, now=utc_now() + timedelta(seconds=1))
    with pytest.raises(ObjectNotFound):
        _read(storage, gone)
    _read(storage, kept)


def test_image_that_changes_while_its_record_is_written_gets_one_that_is_true(
    database: Database, storage: LocalStorage, add_image: AddImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = add_image()
    put = storage.put

    def _put_late(key: str, *arguments: object, **named: object) -> None:
        put(key, *arguments, **named)  # type: ignore[arg-type]
        with database.write() as session:
            images.get(session, image_id, EVERYTHING).declared_bits = 7

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", _put_late)
        assert write_missing(database, storage) == 0
    assert write_missing(database, storage) == 1
    record = ImageRecord.from_bytes(_read(storage, _record_of(database, image_id)), "a record")
    assert record.image.declared_bits == 7
    deletions.sweep(database, storage, now=utc_now() + timedelta(hours=3))
    assert len(list(storage.list(RECORDS))) == 1


def _example() -> bytes:
    image = {
        "id": "img_01", "owner": "default", "name": "a", "folder": None,
        "created_at": "2026-11-30T08:00:00Z", "width": 1, "height": 1,
        "media_type": "image/png", "original_bytes": None, "original_sha256": None, "original_key": None,
        "keep_original": False, "options": {}, "bitstream_sha256": "0" * 64, "bitstream_bytes": 40, "bits": None,
        "mode": None, "profile": None, "networks": None, "reference_key": None, "declared_bits": None, "maps": None,
        "seconds": {"total": 0.1}, "notes": None, "usage": None,
    }  # fmt: skip
    record = {"software": "0", "image": image, "batch": None, "description": None, "job": None}
    return ImageRecord.model_validate(record).to_bytes()


def test_record_comes_back_as_it_was() -> None:
    assert ImageRecord.from_bytes(_example(), "a record").to_bytes() == _example()


def test_record_from_before_a_key_was_added_is_read() -> None:
    document = json.loads(_example())
    del document["record"]["image"]["kept_metadata"], document["record"]["image"]["quality"]
    content = json.dumps(document["record"], sort_keys=True, separators=(",", ":"))
    document["sha256"] = hashlib.sha256(content.encode()).hexdigest()
    image = ImageRecord.from_bytes(json.dumps(document).encode(), "a record").image
    assert (image.kept_metadata, image.quality) == (None, None)


def test_keys_of_a_later_version_are_passed_over() -> None:
    document = json.loads(_example())
    document["record"]["image"]["more"] = 1
    content = json.dumps(document["record"], sort_keys=True, separators=(",", ":"))
    document["sha256"] = hashlib.sha256(content.encode()).hexdigest()
    assert ImageRecord.from_bytes(json.dumps(document).encode(), "a record").image.id == "img_01"


def test_every_flipped_bit_is_noticed() -> None:
    data = _example()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        if at == len(data) - 1 or json.dumps(_parsed(damaged)) == json.dumps(json.loads(data)):
            continue  # the line's end, or another way to write the same
        with pytest.raises(ObjectCorrupt, match="records/x"):
            ImageRecord.from_bytes(bytes(damaged), "records/x")


@given(st.binary(max_size=200))
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        ImageRecord.from_bytes(data, "records/x")


def _parsed(data: bytearray) -> object:
    try:
        return json.loads(bytes(data))
    except ValueError:
        return None
