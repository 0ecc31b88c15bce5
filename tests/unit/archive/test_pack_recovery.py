"""A database is made again from packs; what one side lost of a pack is found, and mended from the other."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from core.archive import bitstreams, deletions, fixity, images, rebuild
from core.archive.check import Fault, check
from core.archive.fixity import Outcome
from core.archive.packs import packer, places
from core.archive.packs.loose_copies import sweep_copies
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings, PackSettings
from core.storage.keys import PACKS, RECORDS
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models.base import utc_now
from models.image import Image
from models.pack_member import PackMember
from models.stored_object import StoredObject

SETTINGS = PackSettings(size_bytes=10_000, age=timedelta(0))


@pytest.fixture
def packed(database: Database, copies: Copies, filled: dict[str, bytes]) -> dict[str, bytes]:
    """Everything lies in packs; all bytes by key."""
    while packer.pack_loose(database, copies, SETTINGS, fills=False):
        pass
    sweep_copies(database, copies.as_one())
    return filled


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A database in the place of one that was lost."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/new.db")
    upgrade(settings)
    database = Database(settings)
    yield database
    database.close()


def _living(database: Database) -> dict[str, tuple[str, int]]:
    with database.read() as session:
        rows = session.execute(
            select(PackMember.key, PackMember.pack_key, PackMember.offset).where(PackMember.deleted_at.is_(None))
        )
        return {key: (pack, offset) for key, pack, offset in rows}


def _listing(database: Database) -> list[tuple[object, ...]]:
    with database.read() as session:
        page = images.list_images(session, EVERYTHING, limit=100)
        return [(row.id, row.name, row.owner, row.bitstream_sha256, row.record_sha256) for row in page.rows]


def _packs(storage: LocalStorage) -> list[Path]:
    return [storage._path(info.key) for info in storage.list(PACKS)]


def test_everything_comes_back_from_packs_alone(
    database: Database, empty: Database, storage: LocalStorage, packed: dict[str, bytes]
) -> None:
    assert rebuild.rebuild(empty, storage) == rebuild.Rebuilt(images=8)
    assert (_living(empty), _listing(empty)) == (_living(database), _listing(database))
    for key, data in packed.items():
        assert places.get(empty, storage, key, 10**6) == data
    assert rebuild.rebuild(empty, storage).images == 0
    assert check(empty, Copies(storage)).findings == []


def test_what_lies_loose_too_stays_loose(
    database: Database, empty: Database, storage: LocalStorage, packed: dict[str, bytes]
) -> None:
    key = next(iter(packed))
    sha256 = hashlib.sha256(packed[key]).hexdigest()
    storage.put(key, packed[key], content_type="", sha256=sha256)
    assert rebuild.rebuild(empty, storage).images == 8
    assert set(_living(empty)) == set(packed) - {key}
    assert check(empty, Copies(storage)).is_clean


def test_streams_without_a_record_are_taken_in_from_packs(
    database: Database, empty: Database, storage: LocalStorage, copies: Copies, packed: dict[str, bytes]
) -> None:
    with database.write() as session:
        session.execute(delete(Image))
    streams = {key for key in packed if not key.startswith(RECORDS)}
    assert rebuild.take_in(database, storage) == rebuild.Rebuilt(streams=8)
    with database.read() as session:
        named = {f"bitstreams/{sha256}.misc" for sha256 in session.scalars(select(Image.bitstream_sha256))}
    assert named == streams


def test_deleted_image_does_not_come_back_into_its_own_database(
    database: Database, storage: LocalStorage, packed: dict[str, bytes]
) -> None:
    image_id = str(_listing(database)[0][0])
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)
    deletions.sweep(database, storage, now=utc_now() + timedelta(hours=2))
    assert rebuild.rebuild(database, storage).images == 0
    assert len(_listing(database)) == 7


@pytest.mark.parametrize("what", ["pack", "rows"])
def test_pack_that_the_database_lost_is_found_and_known_again(
    database: Database, storage: LocalStorage, copies: Copies, packed: dict[str, bytes], what: str
) -> None:
    before = _living(database)
    pack = next(storage.list(PACKS)).key
    with database.write() as session:
        session.execute(delete(PackMember).where(PackMember.pack_key == pack))
        if what == "pack":
            session.execute(delete(StoredObject).where(StoredObject.key == pack))
    fault = Fault.UNKNOWN if what == "pack" else Fault.UNLISTED
    assert [(one.key, one.fault) for one in check(database, copies).findings] == [(pack, fault)]
    assert [one.repair for one in check(database, copies, mends=True).findings] == ["what lies in it is known again"]
    assert check(database, copies).findings == []
    assert _living(database) == before


def test_database_older_than_its_packs_finds_the_streams_in_them(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes], tmp_path: Path
) -> None:
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "old.db").write_bytes((tmp_path / "misc.db").read_bytes())
    while packer.pack_loose(database, copies, SETTINGS, fills=False):
        pass
    sweep_copies(database, storage)
    old = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/old.db"))
    assert Fault.MISSING in {one.fault for one in check(old, copies).findings}
    assert check(old, copies, mends=True).is_clean
    assert check(old, copies).findings == []
    for key, data in filled.items():
        assert places.get(old, storage, key, 10**6) == data
    old.close()


@pytest.mark.parametrize("where", ["header", "body", "index", "trailer"])
def test_flip_anywhere_in_a_pack_is_found_and_mended_from_the_mirror(
    database: Database, storage: LocalStorage, packed: dict[str, bytes], tmp_path: Path, where: str
) -> None:
    mirror = LocalStorage(tmp_path / "mirror")
    copies = Copies(storage, mirror)
    for row in fixity.every(database):
        assert fixity.verify(database, copies, row) is Outcome.MIRRORED
    path = _packs(storage)[0]
    good = path.read_bytes()
    position = {"header": 10, "body": 500, "index": len(good) - 150, "trailer": len(good) - 30}[where]
    bad = bytearray(good)
    bad[position] ^= 1
    path.write_bytes(bad)
    outcomes = [fixity.verify(database, copies, row) for row in fixity.every(database)]
    assert outcomes.count(Outcome.RESTORED) == 1 and set(outcomes) <= {Outcome.RESTORED, Outcome.INTACT}
    assert path.read_bytes() == good


@pytest.mark.parametrize("where", ["index", "trailer"])
def test_rebuild_tells_a_pack_that_it_cannot_read(
    empty: Database, storage: LocalStorage, packed: dict[str, bytes], where: str
) -> None:
    path = _packs(storage)[0]
    bad = bytearray(path.read_bytes())
    bad[len(bad) - (30 if where == "trailer" else 150)] ^= 1
    path.write_bytes(bad)
    rebuilt = rebuild.rebuild(empty, storage)
    assert list(rebuilt.unreadable) == [f"packs/{path.name}"]


def test_damaged_record_in_a_pack_is_told_and_the_others_are_restored(
    database: Database, empty: Database, storage: LocalStorage, packed: dict[str, bytes]
) -> None:
    key = next(key for key in packed if key.startswith(RECORDS))
    pack, offset = _living(database)[key]
    path = storage._path(pack)
    bad = bytearray(path.read_bytes())
    bad[offset + 20] ^= 1
    path.write_bytes(bad)
    rebuilt = rebuild.rebuild(empty, storage)
    assert (rebuilt.images, list(rebuilt.unreadable)) == (7, [key])


def test_pack_without_a_mirror_stays_marked_and_its_good_streams_are_read(
    database: Database, storage: LocalStorage, copies: Copies, packed: dict[str, bytes]
) -> None:
    key, (pack, offset) = next((key, place) for key, place in _living(database).items() if "bitstreams" in key)
    path = storage._path(pack)
    bad = bytearray(path.read_bytes())
    bad[offset] ^= 1
    path.write_bytes(bad)
    outcomes = [fixity.verify(database, copies, row) for row in fixity.every(database)]
    assert outcomes.count(Outcome.DAMAGED) == 1
    for other, data in packed.items():
        if other != key and other.startswith("bitstreams/"):
            assert bitstreams.get(database, storage, hashlib.sha256(data).hexdigest()) == data
