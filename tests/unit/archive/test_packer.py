"""Streams and records move into packs, are read from them, die in them, and move on, and nobody notices."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from core.archive import bitstreams, deletions, images, object_lifecycle
from core.archive.packs import members, packer, places
from core.archive.packs.loose_copies import sweep_copies
from core.database import Database
from core.errors import ObjectCorrupt
from core.owners.view import EVERYTHING
from core.settings import PackSettings
from core.storage.keys import FOLDERS
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.base import utc_now
from models.image import Image
from models.pack_member import PackMember
from models.pending_deletion import PendingDeletion
from models.stored_object import ObjectKind, StoredObject

AddImage = Callable[..., str]
SETTINGS = PackSettings(size_bytes=2048, age=timedelta(0), dead_share=0.4)


def stored(storage: LocalStorage) -> dict[str, Path]:
    return {info.key: storage._path(info.key) for folder in FOLDERS for info in storage.list(folder)}


def kinds(database: Database) -> list[ObjectKind]:
    with database.read() as session:
        return list(session.scalars(select(StoredObject.kind)))


def pack_all(database: Database, copies: Copies) -> None:
    while packer.pack_loose(database, copies, SETTINGS, fills=False):
        pass
    sweep_copies(database, copies.as_one())


def sweep(database: Database, storage: LocalStorage) -> None:
    deletions.sweep(database, storage, now=utc_now() + timedelta(hours=3))


def check_all(database: Database, storage: LocalStorage, expected: dict[str, bytes]) -> None:
    """Every stream and record has its bytes, and lies in one place only."""
    for key, data in expected.items():
        assert places.get(database, storage, key, 10**6) == data
    with database.read() as session:
        loose = set(session.scalars(select(StoredObject.key).where(StoredObject.kind != ObjectKind.PACK)))
        packed = session.scalars(select(PackMember.key).where(PackMember.deleted_at.is_(None))).all()
        packs = set(session.scalars(select(StoredObject.key).where(StoredObject.kind == ObjectKind.PACK)))
        assert session.scalars(select(PendingDeletion.key)).all() == []
    assert len(packed) == len(set(packed)) and loose.isdisjoint(packed)
    assert loose | set(packed) == set(expected)
    assert set(stored(storage)) == loose | packs


def test_streams_and_records_move_into_packs_and_are_read_as_before(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes]
) -> None:
    pack_all(database, copies)
    assert set(kinds(database)) == {ObjectKind.PACK} and len(kinds(database)) > 1
    check_all(database, storage, filled)
    with bitstreams.open(database, storage, next(iter(filled)).split("/")[1][:64]) as reader:
        assert reader.info.size_bytes == len(b"".join(reader)) == len(next(iter(filled.values())))


def test_packs_are_filled_and_young_or_large_ones_stay_loose(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes]
) -> None:
    assert packer.pack_loose(database, copies, PackSettings(age=timedelta(0))) is None
    assert packer.pack_loose(database, copies, PackSettings(size_bytes=2048, age=timedelta(hours=3))) is None
    small = packer.pack_loose(database, copies, PackSettings(age=timedelta(0), member_bytes=500), fills=False)
    assert small is not None and small.members == 8
    assert kinds(database).count(ObjectKind.RECORD) == 8
    sweep(database, storage)
    check_all(database, storage, filled)


def test_what_is_reserved_dropped_or_damaged_is_not_packed(
    database: Database, copies: Copies, filled: dict[str, bytes]
) -> None:
    first, second, third = sorted(filled)[:3]
    object_lifecycle.reserve(database, first)
    object_lifecycle.note_damaged(database, second)
    stored(copies.storage)[third].write_bytes(b"x" * len(filled[third]))  # type: ignore[arg-type]
    pack_all(database, copies)
    with database.read() as session:
        assert set(session.scalars(select(StoredObject.key).where(StoredObject.kind != ObjectKind.PACK))) == {
            first, second, third,
        }  # fmt: skip
        assert session.get_one(StoredObject, third).damaged_at is not None


def test_deleted_image_leaves_a_tombstone_and_then_its_pack(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes]
) -> None:
    pack_all(database, copies)
    with database.read() as session:
        image = session.scalars(select(Image)).first()
        assert image is not None
        gone = {f"bitstreams/{image.bitstream_sha256}.misc", f"records/{image.record_sha256}.json"}
        image_id = image.id
        before = {members.holder_of(session, key) for key in gone}
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)
    sweep(database, storage)
    left = {key: data for key, data in filled.items() if key not in gone}
    check_all(database, storage, left)
    with database.read() as session:
        assert {row.key for row in session.scalars(select(PackMember)) if row.deleted_at is not None} == gone
    # However few bytes are dead, they go in time.
    soon = SETTINGS.model_copy(update={"dead_share": 1.0, "dead_age": timedelta(0)})
    while packer.rewrite(database, copies, soon):
        pass
    packer.rewrite(database, copies, soon)
    sweep(database, storage)
    check_all(database, storage, left)
    assert before.isdisjoint(stored(storage))
    assert not any(filled[key] in path.read_bytes() for key in gone for path in stored(storage).values())


def test_stream_that_comes_again_is_not_stored_again(
    database: Database, storage: LocalStorage, copies: Copies, add_image: AddImage, filled: dict[str, bytes]
) -> None:
    pack_all(database, copies)
    add_image(3, owner="alice")
    assert not any(key.startswith("bitstreams/") for key in stored(storage))
    with database.write() as session:
        for image in session.scalars(select(Image).where(Image.owner == "default")).all():
            images.delete_image(session, image.id, EVERYTHING)
    sweep(database, storage)
    with database.read() as session:
        (image,) = session.scalars(select(Image)).all()
    assert hashlib.sha256(bitstreams.get(database, storage, image.bitstream_sha256 or "")).hexdigest() == (
        image.bitstream_sha256
    )


def test_stream_in_a_damaged_pack_is_refused_and_healed_by_a_good_copy(
    database: Database, storage: LocalStorage, copies: Copies, add_image: AddImage, filled: dict[str, bytes]
) -> None:
    pack_all(database, copies)
    key = next(key for key in filled if key.startswith("bitstreams/"))
    sha256 = key.split("/")[1][:64]
    with database.read() as session:
        place = members.place_of(session, key)
    path = stored(storage)[place.object_key]
    data = bytearray(path.read_bytes())
    data[place.start + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObjectCorrupt):
        bitstreams.get(database, storage, sha256)
    assert object_lifecycle.is_damaged(database, place.object_key)
    seed = next(seed for seed in range(8) if _is_of(add_image, database, seed, sha256))
    assert seed >= 0
    assert bitstreams.get(database, storage, sha256) == filled[key]
    with database.read() as session:
        assert members.holder_of(session, key) == key


def _is_of(add_image: AddImage, database: Database, seed: int, sha256: str) -> bool:
    image_id = add_image(seed)
    with database.read() as session:
        return session.get_one(Image, image_id).bitstream_sha256 == sha256


def test_packs_are_taken_apart_again(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes]
) -> None:
    pack_all(database, copies)
    with database.read() as session:
        keys = [state.key for state in members.packs(session)]
    assert sum(packer.unpack(database, copies, key) for key in keys) == len(filled)
    packer.rewrite(database, copies, SETTINGS)
    sweep(database, storage)
    assert ObjectKind.PACK not in kinds(database)
    check_all(database, storage, filled)


def test_pack_that_was_not_committed_is_swept(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def _killed(*_: object) -> set[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(packer, "_commit", _killed)
        packer.pack_loose(database, copies, SETTINGS)
    assert any(key.startswith("packs/") for key in stored(storage))
    sweep(database, storage)
    check_all(database, storage, filled)


def test_mirror_has_the_pack_before_loose_objects_go(
    database: Database, storage: LocalStorage, filled: dict[str, bytes], tmp_path: Path
) -> None:
    mirror = LocalStorage(tmp_path / "mirror")
    pack_all(database, Copies(storage, mirror))
    assert set(stored(mirror)) == set(stored(storage))
    with database.read() as session:
        assert all(row.mirrored_at is not None for row in session.scalars(select(StoredObject)))
