"""What was exported is what bagit-py accepts, comes in elsewhere as it was, and is refused when a byte was changed."""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import bagit
import pytest
from sqlalchemy import select, update

from core.archive import bitstreams, images, object_lifecycle, rebuild
from core.archive.check import check
from core.archive.exchange.contents import opened
from core.archive.exchange.errors import ExportImpossible, ExportInvalid, SignatureInvalid, SignerUnknown
from core.archive.exchange.export import Exported, Order, export
from core.archive.exchange.form import Form
from core.archive.exchange.intake import Imported, take_in
from core.archive.exchange.selection import Selection
from core.archive.exchange.signature import SigningKey
from core.archive.exchange.verification import check_signer, opened_export, verify
from core.archive.object_lifecycle import NewObject
from core.archive.packs import packer
from core.archive.packs.loose_copies import sweep_copies
from core.archive.records import outdate
from core.database import Database
from core.errors import NotFound, ServiceError
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings, PackSettings
from core.storage.keys import FOLDERS, original_key
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.base import Base, utc_now
from models.batch import Batch
from models.image import Image
from models.stored_object import StoredObject

AddImage = Callable[..., str]

_VESSELS = [
    (Form.BAGIT, "bag"),
    (Form.BAGIT, "bag.tar"),
    (Form.OCFL, "root"),
    (Form.OCFL, "root.tar"),
    (Form.TAR, "x.tar"),
]


class Archive:
    """A database, a storage and a signing key."""

    def __init__(self, database: Database, storage: LocalStorage, folder: Path) -> None:
        self.database, self.storage = database, storage
        self.key = SigningKey.create(folder / "key.pem")

    def export(self, target: Path, form: Form = Form.BAGIT, *, originals: bool = True, **selection: object) -> Exported:
        """Write an export of what is selected."""
        order = Order(Selection(**selection), form, originals)  # type: ignore[arg-type]
        return export(self.database, self.storage, order, target, self.key)

    def take(
        self, path: Path, owner: str | None = None, *, signer: str | None = None, trusting: bool = False
    ) -> Imported:
        """Verify an export and take it in."""
        with opened_export(path) as found:
            check_signer(found, {} if signer is None else {signer: "elsewhere"}, is_trusting=trusting)
            verify(found)
            return take_in(self.database, Copies(self.storage), found, owner)

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table."""
        with self.database.read() as session:
            return {
                table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
                for table in Base.metadata.sorted_tables
            }


@pytest.fixture
def here(database: Database, storage: LocalStorage, add_image: AddImage, tmp_path: Path) -> Archive:
    """Five images: two of one stream, one with an original, one described, one in a batch."""
    archive = Archive(database, storage, tmp_path)
    ids = [
        add_image(seed, owner=owner)
        for seed, owner in ((1, "default"), (1, "alice"), (2, "alice"), (3, "bob"), (4, "bob"))
    ]
    original = random.Random(5).randbytes(70_001)
    new = NewObject(original_key(ids[2], "jpg"), hashlib.sha256(original).hexdigest(), len(original))
    object_lifecycle.store(database, storage, new, original)
    with database.write() as session:
        object_lifecycle.retain(session, new)
        kept = images.get(session, ids[2], EVERYTHING)
        kept.original_key, kept.original_sha256, kept.original_bytes = new.key, new.sha256, new.size_bytes
        outdate(session, kept)
        described = images.get(session, ids[3], EVERYTHING)
        content = {"items": [{"name": "boat", "detail": "a red boat"}], "overall": "Two Boats é."}
        images.record_description(session, described, "given", content)
        session.add(Batch(id="bat_0000000000000000000000001", owner="bob", name="holiday"))
        session.flush()
        images.get(session, ids[4], EVERYTHING).batch_id = "bat_0000000000000000000000001"
    return archive


@pytest.fixture
def elsewhere(migrated_file: Path, tmp_path: Path) -> Iterator[Archive]:
    """An archive with nothing in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(migrated_file, folder / "misc.db")
    with closing(Database(DatabaseSettings(url=f"sqlite:///{folder}/misc.db"))) as database:
        yield Archive(database, LocalStorage(folder / "objects"), folder)


def _unpacked(path: Path, folder: Path) -> Path:
    if path.is_dir():
        return path
    shutil.unpack_archive(path, folder)
    return folder / "misc-export"


def _tree(root: Path, *, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in but
    }


@pytest.mark.parametrize(("form", "name"), _VESSELS)
def test_export_imported_elsewhere_and_exported_again_is_the_same(
    here: Archive, elsewhere: Archive, tmp_path: Path, form: Form, name: str
) -> None:
    exported = here.export(tmp_path / "out" / name, form)
    assert (exported.images, exported.left_out) == (5, [])
    assert elsewhere.take(tmp_path / "out" / name, signer=here.key.public) == Imported(images=5)
    for table in ("images", "descriptions", "batches", "search_words"):
        assert elsewhere.rows()[table] == here.rows()[table], table
    again = elsewhere.export(tmp_path / "again" / name, form)
    assert again == exported
    first, second = (_unpacked(tmp_path / run / name, tmp_path / f"{run}-files") for run in ("out", "again"))
    assert _tree(first, but=("signature.json",)) == _tree(second, but=("signature.json",))
    assert (first / "signature.json").read_bytes() != (second / "signature.json").read_bytes()
    with here.database.read() as session:
        digests = set(session.scalars(select(Image.bitstream_sha256)))
    for sha256 in digests:
        assert sha256 is not None
        theirs = bitstreams.get(elsewhere.database, elsewhere.storage, sha256)
        assert theirs == bitstreams.get(here.database, here.storage, sha256)


@pytest.mark.parametrize(("form", "name"), _VESSELS)
def test_archive_whose_streams_lie_in_packs_exports_the_same_bytes(
    here: Archive, elsewhere: Archive, tmp_path: Path, form: Form, name: str
) -> None:
    here.export(tmp_path / "loose" / name, form)
    copies, settings = Copies(here.storage), PackSettings(age=timedelta(0), size_bytes=2048)
    with here.database.write() as session:
        session.execute(update(StoredObject).values(created_at=utc_now() - timedelta(hours=2)))
    packs = list(iter(lambda: packer.pack_loose(here.database, copies, settings, fills=False), None))
    sweep_copies(here.database, here.storage)
    assert len(packs) > 1 and sum(pack.members for pack in packs if pack) == 4 + 5, "four streams, five records"
    stored = [info.key.partition("/")[0] for folder in FOLDERS for info in here.storage.list(folder)]
    assert sorted(set(stored)) == ["originals", "packs"], "no stream and no record is an object of its own any more"
    here.export(tmp_path / "packed" / name, form)
    assert _tree(tmp_path / "packed") == _tree(tmp_path / "loose")
    assert elsewhere.take(tmp_path / "packed" / name, signer=here.key.public) == Imported(images=5)


@pytest.mark.parametrize(("form", "name"), _VESSELS)
def test_images_that_share_their_original_share_it_elsewhere_too(
    here: Archive, elsewhere: Archive, tmp_path: Path, form: Form, name: str
) -> None:
    original = random.Random(6).randbytes(5_001)
    new = NewObject(
        original_key(hashlib.sha256(original).hexdigest(), "png"), hashlib.sha256(original).hexdigest(), 5_001
    )
    object_lifecycle.store(here.database, here.storage, new, original)
    with here.database.write() as session:
        object_lifecycle.retain(session, new)
        for kept in session.scalars(select(Image).where(Image.owner == "bob")).unique():
            kept.original_key, kept.original_sha256, kept.original_bytes = new.key, new.sha256, new.size_bytes
            outdate(session, kept)
    exported = here.export(tmp_path / "out" / name, form)
    assert elsewhere.take(tmp_path / "out" / name, signer=here.key.public) == Imported(images=5)
    assert elsewhere.rows()["images"] == here.rows()["images"]
    kept_keys = sorted(info.key for info in elsewhere.storage.list("originals/"))
    assert len(kept_keys) == 2 and new.key in kept_keys, "one is named by its image, as in an older archive"
    assert elsewhere.storage.get(new.key, max_bytes=10_000) == original
    assert elsewhere.export(tmp_path / "again" / name, form) == exported


def test_bag_is_valid_to_bagit(here: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag")
    here.export(tmp_path / "bag.tar")
    for bag in (tmp_path / "bag", _unpacked(tmp_path / "bag.tar", tmp_path / "files")):
        assert bagit.Bag(str(bag)).validate()
    first = next((tmp_path / "bag" / "data").rglob("*.misc"))
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path / "bag")).validate()


def test_payload_of_a_bag_is_a_storage(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag")
    payload = LocalStorage(tmp_path / "bag" / "data")
    assert rebuild.rebuild(elsewhere.database, payload) == rebuild.Rebuilt(images=5)
    assert check(elsewhere.database, Copies(payload)).findings == []


@pytest.mark.parametrize(("form", "name"), _VESSELS)
def test_changed_byte_is_refused(here: Archive, elsewhere: Archive, tmp_path: Path, form: Form, name: str) -> None:
    path = tmp_path / name
    here.export(path, form)
    before = elsewhere.rows()
    chosen = random.Random(name)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for _ in range(50):
        file = chosen.choice(files)
        data = file.read_bytes()
        at = chosen.randrange(len(data))
        file.write_bytes(data[:at] + bytes((data[at] ^ 1 << chosen.randrange(8),)) + data[at + 1 :])
        with pytest.raises((ExportInvalid, SignatureInvalid, SignerUnknown)):
            elsewhere.take(path, signer=here.key.public)
        file.write_bytes(data)
    assert elsewhere.rows() == before
    assert elsewhere.take(path, signer=here.key.public).images == 5


def test_wrong_signature_is_refused_whatever_is_trusted(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "one")
    here.export(tmp_path / "two", owner="bob")
    shutil.copy(tmp_path / "two" / "signature.json", tmp_path / "one" / "signature.json")
    with pytest.raises(SignatureInvalid):
        elsewhere.take(tmp_path / "one", signer=here.key.public, trusting=True)


def test_strangers_and_unsigned_exports_are_taken_on_request_only(
    here: Archive, elsewhere: Archive, tmp_path: Path
) -> None:
    here.export(tmp_path / "bag")
    with pytest.raises(SignerUnknown, match=here.key.public):
        elsewhere.take(tmp_path / "bag", signer=elsewhere.key.public)
    (tmp_path / "bag" / "signature.json").unlink()
    with pytest.raises(SignerUnknown, match="Nobody"):
        elsewhere.take(tmp_path / "bag", signer=here.key.public)
    assert elsewhere.take(tmp_path / "bag", trusting=True).images == 5


def test_import_repeated_changes_nothing(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag")
    elsewhere.take(tmp_path / "bag", trusting=True)
    before = elsewhere.rows()
    assert elsewhere.take(tmp_path / "bag", trusting=True) == Imported(there_already=5)
    assert here.take(tmp_path / "bag", trusting=True) == Imported(there_already=5)
    assert elsewhere.rows() == before


def test_owner_is_as_recorded_or_as_chosen(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag")
    assert elsewhere.take(tmp_path / "bag", "carol", trusting=True) == Imported(images=5)
    with elsewhere.database.read() as session:
        assert set(session.scalars(select(Image.owner))) == {"carol"}
        assert set(session.scalars(select(Batch.owner))) == {"carol"}
    again = elsewhere.take(tmp_path / "bag", trusting=True)
    assert (again.images, set(again.conflicts.values())) == (0, {"it is there with another owner"})


def test_other_image_of_the_same_id_is_told_and_left_alone(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag")
    elsewhere.take(tmp_path / "bag", trusting=True)
    with elsewhere.database.write() as session:
        image = session.scalars(select(Image).order_by(Image.id)).first()
        assert image is not None
        image.name, changed_id = "renamed", image.id
    imported = elsewhere.take(tmp_path / "bag", trusting=True)
    assert (imported.there_already, imported.conflicts) == (4, {changed_id: "it is there with another name"})
    with elsewhere.database.read() as session:
        assert images.get(session, changed_id, EVERYTHING).name == "renamed"


def test_selection(here: Archive, tmp_path: Path) -> None:
    with here.database.read() as session:
        ids = sorted(session.scalars(select(Image.id)))
    for number, (count, selection) in enumerate(
        [
            (2, {"image_ids": (ids[0], ids[3])}),
            (1, {"batch": "holiday"}),
            (1, {"words": "two BOATS"}),
            (2, {"owner": "bob"}),
            (1, {"owner": "bob", "words": "red"}),
        ]
    ):
        assert here.export(tmp_path / str(number), **selection).images == count
    for selection in ({"image_ids": ("img_none",)}, {"batch": "none"}, {"batch": "holiday", "owner": "alice"}):
        with pytest.raises(NotFound):
            here.export(tmp_path / "none", **selection)
    with pytest.raises(ExportImpossible):
        here.export(tmp_path / "none", owner="nobody")


def test_without_originals_the_records_say_so(here: Archive, elsewhere: Archive, tmp_path: Path) -> None:
    here.export(tmp_path / "bag", originals=False)
    assert not (tmp_path / "bag" / "data" / "originals").exists()
    assert elsewhere.take(tmp_path / "bag", trusting=True).images == 5
    with elsewhere.database.read() as session:
        assert set(session.scalars(select(Image.original_key))) == {None}
    elsewhere.export(tmp_path / "again")
    assert _tree(tmp_path / "bag", but=("signature.json",)) == _tree(tmp_path / "again", but=("signature.json",))


@pytest.mark.parametrize(("form", "name"), _VESSELS)
def test_interrupted_export_goes_on(
    here: Archive, tmp_path: Path, form: Form, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.export(tmp_path / "whole" / name, form)
    path, written = tmp_path / "out" / name, 0

    def _opened_few(*args: object) -> object:
        nonlocal written
        written += 1
        if written % 4 == 0:
            raise KeyboardInterrupt
        return opened(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("core.archive.exchange.export.opened", _opened_few)
    runs = 1
    while True:
        try:
            here.export(path, form)
            break
        except KeyboardInterrupt:
            runs += 1
            if path.is_dir():
                (path / "stray").write_bytes(b"of a run in which there was more")
            with pytest.raises(ServiceError):
                here.take(path)
    assert runs > 3
    assert _tree(path.parent) == _tree(tmp_path / "whole")


def test_damaged_image_is_left_out_and_the_others_are_exported(
    here: Archive, elsewhere: Archive, tmp_path: Path
) -> None:
    with here.database.read() as session:
        image = session.scalars(select(Image).where(Image.owner == "bob").order_by(Image.id)).first()
        assert image is not None
    (path,) = (tmp_path / "objects" / "bitstreams").rglob(f"{image.bitstream_sha256}.misc")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    exported = here.export(tmp_path / "bag.tar")
    assert (exported.images, exported.left_out) == (4, [image.id])
    assert elsewhere.take(tmp_path / "bag.tar", trusting=True).images == 4


def test_target_that_holds_something_else_is_refused(here: Archive, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "mine.tar").write_text("mine")
    for target in (tmp_path / "notes", tmp_path / "mine.tar"):
        with pytest.raises(ExportImpossible):
            here.export(target)
    assert _tree(tmp_path / "notes") == {"mine.txt": b"mine"}


def test_unfinished_export_of_something_else_is_refused(
    here: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("core.archive.exchange.vessels.FolderVessel.finish", _interrupt)
        here.export(tmp_path / "bag")
    with pytest.raises(ExportImpossible, match="something else"):
        here.export(tmp_path / "bag", owner="bob")
    assert here.export(tmp_path / "bag").images == 5


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
