"""A database that was lost, or lost a part, comes back from storage; what cannot be read is told and passed over."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from core.archive import deletions, images, rebuild, search
from core.archive.records import outdate
from core.archive.records.writer import write_missing
from core.database import Database
from core.owners.view import EVERYTHING, View
from core.settings import DatabaseSettings
from core.storage.keys import RECORDS
from core.storage.local import LocalStorage
from migrations.upgrade import upgrade
from models.base import Base, utc_now
from models.image import Image

AddImage = Callable[..., str]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A database in the place of one that was lost."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/new.db")
    upgrade(settings)
    database = Database(settings)
    yield database
    database.close()


def _rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with database.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        }


def test_every_row_comes_back(database: Database, empty: Database, storage: LocalStorage, add_image: AddImage) -> None:
    image_ids = [add_image(seed, owner=owner) for seed, owner in enumerate(("default", "alice", "alice"))]
    with database.write() as session:
        image = images.get(session, image_ids[1], EVERYTHING)
        images.record_description(session, image, "given", {"items": [], "overall": "Two Boats."})
        image.quality = {"figures": {"psnr-rgb": 24.5}, "is_met": None}
        image.kept_metadata = {"taken_at": "2026-11-29T12:34:56", "latitude": -33.86, "modified_at": None}
    write_missing(database, storage)
    assert rebuild.rebuild(empty, storage) == rebuild.Rebuilt(images=3)
    before, after = _rows(database), _rows(empty)
    # When an object was first stored is known no more.
    assert [row[:5] for row in after.pop("stored_objects")] == [row[:5] for row in before.pop("stored_objects")]
    assert after == before
    with empty.read() as session:
        page = images.list_images(session, View("alice"), limit=10, words="boats two")
        assert [image.id for image in page.rows] == [image_ids[1]]
    assert rebuild.rebuild(empty, storage).images == 0, "what is there stays as it is"


def test_images_that_are_there_are_left_alone(database: Database, storage: LocalStorage, add_image: AddImage) -> None:
    lost, kept = add_image(1), add_image(2)
    write_missing(database, storage)
    with database.write() as session:
        search.remove_image(session, lost)
        session.execute(delete(Image).where(Image.id == lost))
        images.get(session, kept, EVERYTHING).name = "another"
    assert rebuild.rebuild(database, storage).images == 1
    with database.read() as session:
        assert images.get(session, lost, EVERYTHING).name == "a boat.misc"
        assert images.get(session, kept, EVERYTHING).name == "another"


def test_deleted_image_does_not_come_back_while_its_record_waits_for_the_sweep(
    database: Database, storage: LocalStorage, add_image: AddImage
) -> None:
    image_id = add_image()
    write_missing(database, storage)
    with database.write() as session:
        images.delete_image(session, image_id, EVERYTHING)
    assert rebuild.rebuild(database, storage).images == 0


def test_of_two_records_of_an_image_the_later_counts(
    database: Database, empty: Database, storage: LocalStorage, add_image: AddImage
) -> None:
    image_id = add_image()
    write_missing(database, storage)
    with database.write() as session:
        image = images.get(session, image_id, EVERYTHING)
        image.declared_bits = 9
        outdate(session, image)
    write_missing(database, storage)
    assert len(list(storage.list(RECORDS))) == 2
    assert rebuild.rebuild(empty, storage).images == 1
    with empty.read() as session:
        assert images.get(session, image_id, EVERYTHING).declared_bits == 9


def test_damaged_record_is_named_and_the_others_are_restored(
    database: Database, empty: Database, storage: LocalStorage, add_image: AddImage, tmp_path: Path
) -> None:
    for seed in range(3):
        add_image(seed)
    write_missing(database, storage)
    path = next((tmp_path / "objects" / "records").rglob("*.json"))
    path.write_bytes(path.read_bytes().replace(b"boat", b"goat"))
    rebuilt = rebuild.rebuild(empty, storage)
    assert rebuilt.images == 2
    assert list(rebuilt.unreadable) == [f"records/{path.name}"]


def test_streams_without_records_are_taken_in_on_request(
    database: Database, empty: Database, storage: LocalStorage, add_image: AddImage, tmp_path: Path
) -> None:
    """An archive from before there were records, whose database was lost."""
    add_image(1)
    write_missing(database, storage)
    add_image(2)
    path = next((tmp_path / "objects" / "bitstreams").rglob("*.misc"))
    assert rebuild.rebuild(empty, storage).images == 1
    assert rebuild.take_in(empty, storage) == rebuild.Rebuilt(streams=1)
    with empty.read() as session:
        found = images.list_images(session, EVERYTHING, limit=10).rows
    assert len(found) == 2 and {image.bitstream_sha256 for image in found} >= {path.stem}
    assert deletions.sweep(empty, storage, now=utc_now() + timedelta(hours=3)) == 0


def test_stream_that_is_none_is_named(empty: Database, storage: LocalStorage, tmp_path: Path) -> None:
    path = tmp_path / "objects" / "bitstreams" / "00" / f"{'0' * 64}.misc"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nothing")
    assert list(rebuild.take_in(empty, storage).unreadable) == [f"bitstreams/{path.name}"]
