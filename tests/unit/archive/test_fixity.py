"""A damaged object is found, marked, and mended from its copy; a damaged copy is mended from the object."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from core.archive import bitstreams, deletions, fixity, images
from core.archive.check import check
from core.archive.fixity import Outcome
from core.archive.records.writer import write_missing
from core.database import Database
from core.errors import ObjectCorrupt
from core.owners.view import EVERYTHING
from core.settings import MirrorPolicy
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.base import utc_now
from models.stored_object import ObjectKind, StoredObject

AddImage = Callable[..., str]


@pytest.fixture
def mirror(tmp_path: Path) -> LocalStorage:
    """A second folder."""
    return LocalStorage(tmp_path / "mirror")


@pytest.fixture
def copies(storage: LocalStorage, mirror: LocalStorage) -> Copies:
    """Both, the second behind the first."""
    return Copies(storage, mirror, MirrorPolicy.BEHIND)


@pytest.fixture
def image_id(database: Database, storage: LocalStorage, add_image: AddImage) -> str:
    """An image whose record is written."""
    image_id = add_image()
    write_missing(database, storage)
    return image_id


def _verify_all(database: Database, copies: Copies) -> dict[ObjectKind, Outcome]:
    return {row.kind: fixity.verify(database, copies, row) for row in fixity.every(database)}


def _row(database: Database, kind: ObjectKind = ObjectKind.BITSTREAM) -> StoredObject:
    return next(row for row in fixity.every(database) if row.kind is kind)


def _path(storage: LocalStorage, database: Database, kind: ObjectKind = ObjectKind.BITSTREAM) -> Path:
    return storage._path(_row(database, kind).key)


def _flip(path: Path) -> bytes:
    """Damage a byte; returns what was there."""
    data = path.read_bytes()
    path.write_bytes(data[:7] + bytes([data[7] ^ 1]) + data[8:])
    return data


def test_mirror_gets_what_it_has_not(database: Database, copies: Copies, image_id: str) -> None:
    assert _verify_all(database, copies) == {
        ObjectKind.BITSTREAM: Outcome.MIRRORED,
        ObjectKind.RECORD: Outcome.MIRRORED,
    }
    assert set(_verify_all(database, copies).values()) == {Outcome.INTACT}
    with database.read() as session:
        standing = fixity.standing(session)
    assert (standing.objects, standing.never_verified, standing.damaged, standing.unmirrored) == (2, 0, 0, 0)


@pytest.mark.parametrize("kind", [ObjectKind.BITSTREAM, ObjectKind.RECORD])
@pytest.mark.parametrize("harm", [_flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_damage_is_mended_from_the_mirror(
    database: Database,
    storage: LocalStorage,
    copies: Copies,
    image_id: str,
    kind: ObjectKind,
    harm: Callable[[Path], object],
) -> None:
    _verify_all(database, copies)
    path = _path(storage, database, kind)
    data = path.read_bytes()
    harm(path)
    assert _verify_all(database, copies)[kind] is Outcome.RESTORED
    assert path.read_bytes() == data
    assert _row(database, kind).damaged_at is None
    assert check(database, copies).is_clean
    # The reservation under which it was written does not outlive its hour.
    assert deletions.sweep(database, copies.as_one(), now=utc_now() + timedelta(hours=3)) == 0
    assert path.read_bytes() == data


def test_damaged_copy_is_mended_from_the_object(
    database: Database, mirror: LocalStorage, copies: Copies, image_id: str
) -> None:
    _verify_all(database, copies)
    data = _flip(_path(mirror, database))
    assert _verify_all(database, copies)[ObjectKind.BITSTREAM] is Outcome.MIRRORED
    assert _path(mirror, database).read_bytes() == data


def test_damage_without_a_good_copy_is_marked_and_never_read(
    database: Database, storage: LocalStorage, mirror: LocalStorage, copies: Copies, image_id: str
) -> None:
    _verify_all(database, copies)
    _flip(_path(storage, database))
    _flip(_path(mirror, database))
    assert _verify_all(database, copies)[ObjectKind.BITSTREAM] is Outcome.DAMAGED
    row = _row(database)
    assert row.damaged_at is not None
    with pytest.raises(ObjectCorrupt):
        bitstreams.get(database, storage, row.sha256)
    with database.read() as session:
        assert fixity.damaged_keys(session, 10) == [row.key]


def test_no_caller_is_sent_to_a_damaged_object(
    database: Database, storage: LocalStorage, image_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "presigned_url", lambda key, expires=None, download_name=None: f"https://store/{key}")
    sha256 = _row(database).sha256
    address = bitstreams.presigned_url(database, storage, sha256, download_name="a.misc")
    assert address is not None and sha256 in address
    _flip(_path(storage, database))
    _verify_all(database, Copies(storage))
    assert bitstreams.presigned_url(database, storage, sha256, download_name="a.misc") is None


def test_damaged_record_without_a_mirror_is_written_anew(
    database: Database, storage: LocalStorage, image_id: str
) -> None:
    data = _flip(_path(storage, database, ObjectKind.RECORD))
    assert _verify_all(database, Copies(storage))[ObjectKind.RECORD] is Outcome.MENDED
    assert write_missing(database, storage) == 1
    assert _path(storage, database, ObjectKind.RECORD).read_bytes() == data
    assert _verify_all(database, Copies(storage))[ObjectKind.RECORD] is Outcome.INTACT


def test_object_that_is_deleted_meanwhile_is_not_brought_back(
    database: Database, copies: Copies, image_id: str, storage: LocalStorage, mirror: LocalStorage
) -> None:
    _verify_all(database, copies)
    row = _row(database)
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)
    assert deletions.sweep(database, copies.as_one(), now=utc_now() + timedelta(hours=3)) == 2
    assert fixity.verify(database, copies, row) is Outcome.GONE
    for place in (storage, mirror):
        assert list(place.list("bitstreams/")) == []


def test_what_is_checked_is_mended_from_the_mirror(
    database: Database, storage: LocalStorage, copies: Copies, image_id: str
) -> None:
    _verify_all(database, copies)
    path = _path(storage, database)
    path.unlink()
    report = check(database, copies, mends=True)
    assert [finding.repair for finding in report.findings] == ["it was restored from the mirror"]
    assert path.exists()


def test_the_urgent_comes_first_and_what_was_verified_lately_not_at_all(
    database: Database, add_image: AddImage, storage: LocalStorage
) -> None:
    for seed in range(4):
        add_image(seed)
    rows = list(fixity.every(database))
    damaged, never, old, late = (row.key for row in rows)
    moments = {
        damaged: {"damaged_at": utc_now(), "last_verified_at": utc_now()},
        never: {"created_at": utc_now() - timedelta(hours=2)},
        old: {"last_verified_at": utc_now() - timedelta(days=31)},
        late: {"last_verified_at": utc_now() - timedelta(days=29)},
    }
    with database.write() as session:
        for key, values in moments.items():
            session.execute(update(StoredObject).where(StoredObject.key == key).values(mirrored_at=utc_now(), **values))
    with database.read() as session:
        month = timedelta(days=30)
        assert [row.key for row in fixity.due(session, month, 10, with_mirror=True)] == [damaged, never, old]
        assert [row.key for row in fixity.due(session, month, 2, with_mirror=True)] == [damaged, never]


def test_mirror_at_once_has_an_object_as_soon_as_it_is_stored(
    database: Database, storage: LocalStorage, mirror: LocalStorage, image_id: str
) -> None:
    both = Copies(storage, mirror, MirrorPolicy.AT_ONCE).as_one()
    with database.read() as session:
        sha256 = images.get(session, image_id, EVERYTHING).bitstream_sha256 or ""
    data = bitstreams.get(database, storage, sha256)
    bitstreams.put(database, both, data, sha256)
    assert bitstreams.get(database, mirror, sha256) == data
