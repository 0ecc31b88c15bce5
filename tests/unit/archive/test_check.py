"""Catalogue and storage are compared both ways, and what follows from one of them is mended."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete

from core.archive import images, rebuild, search
from core.archive.check import Fault, check
from core.archive.object_lifecycle import note_damaged
from core.archive.records.writer import write_missing
from core.database import Database
from core.owners.view import EVERYTHING
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.image import Image
from models.stored_object import ObjectKind, StoredObject

AddImage = Callable[..., str]


@pytest.fixture
def image_id(database: Database, storage: LocalStorage, add_image: AddImage) -> str:
    """One image whose record is written."""
    image_id = add_image()
    write_missing(database, storage)
    return image_id


def _file(tmp_path: Path, folder: str) -> Path:
    (path,) = (tmp_path / "objects" / folder).rglob("*.*")
    return path


def _faults(database: Database, storage: LocalStorage, *, repairs: bool = False) -> list[tuple[ObjectKind, Fault]]:
    return [(finding.kind, finding.fault) for finding in check(database, Copies(storage), mends=repairs).findings]


def test_whole_archive_is_clean(database: Database, storage: LocalStorage, image_id: str) -> None:
    report = check(database, Copies(storage))
    assert (report.objects, report.findings, report.unrecorded, report.is_clean) == (2, [], 0, True)


def test_missing_stream_is_found_and_not_mended_from_nothing(
    database: Database, storage: LocalStorage, image_id: str, tmp_path: Path
) -> None:
    _file(tmp_path, "bitstreams").unlink()
    report = check(database, Copies(storage), mends=True)
    assert [(one.kind, one.fault, one.repair) for one in report.findings] == [
        (ObjectKind.BITSTREAM, Fault.MISSING, None)
    ]
    assert not report.is_clean


def test_missing_record_is_written_anew(
    database: Database, storage: LocalStorage, image_id: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, "records")
    data = path.read_bytes()
    path.unlink()
    assert _faults(database, storage) == [(ObjectKind.RECORD, Fault.MISSING)]
    assert check(database, Copies(storage), mends=True).is_clean
    assert path.read_bytes() == data
    assert _faults(database, storage) == []


def test_image_that_the_database_lost_comes_back_from_its_record(
    database: Database, storage: LocalStorage, image_id: str
) -> None:
    with database.write() as session:
        search.remove_image(session, image_id)
        session.execute(delete(Image).where(Image.id == image_id))
        session.execute(delete(StoredObject))
    found = _faults(database, storage)
    assert found == [(ObjectKind.BITSTREAM, Fault.UNKNOWN), (ObjectKind.RECORD, Fault.UNKNOWN)]
    check(database, Copies(storage), mends=True)
    assert _faults(database, storage) == []
    with database.read() as session:
        assert images.get(session, image_id, EVERYTHING).name == "a boat.misc"


def test_stream_of_another_size_is_noted_as_damaged(
    database: Database, storage: LocalStorage, image_id: str, add_image: AddImage, tmp_path: Path
) -> None:
    path = _file(tmp_path, "bitstreams")
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert _faults(database, storage, repairs=True) == [(ObjectKind.BITSTREAM, Fault.RESIZED)]
    add_image()  # the same stream is handed in again
    assert path.read_bytes() == data
    assert _faults(database, storage) == []


def test_lost_reconstructions_and_unknown_ones_are_no_loss(
    database: Database, storage: LocalStorage, image_id: str, tmp_path: Path
) -> None:
    path = tmp_path / "objects" / "reconstructions" / "00" / f"{'0' * 64}.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a picture")
    assert check(database, Copies(storage), mends=True).is_clean
    assert not path.exists()


def test_unknown_original_is_told_and_kept(
    database: Database, storage: LocalStorage, image_id: str, tmp_path: Path
) -> None:
    path = storage._path("originals/img_7.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a picture")
    assert _faults(database, storage, repairs=True) == [(ObjectKind.ORIGINAL, Fault.UNKNOWN)]
    assert path.exists()


def test_rebuilt_archive_is_clean(database: Database, storage: LocalStorage, image_id: str) -> None:
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)
    rebuild.rebuild(database, storage)
    assert check(database, Copies(storage)).is_clean


@pytest.mark.parametrize("damage", [lambda data: data[:-2], lambda data: data.replace(b"boat", b"goat")])
def test_damaged_record_is_written_anew(
    database: Database, storage: LocalStorage, image_id: str, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = _file(tmp_path, "records")
    data = path.read_bytes()
    path.write_bytes(damage(data))
    note_damaged(database, f"records/{path.name}")
    assert check(database, Copies(storage), mends=True).is_clean
    assert path.read_bytes() == data
    assert _faults(database, storage) == []
