"""`misc admin closure`: what streams need is listed, stored in the archive, and taken back from there."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import select, update

from codec.bitstream import NetCoarse, PixelCoarse, Stream, pack
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.archive.records.writer import write_missing
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from models.image import Image
from models.stored_object import ObjectKind, StoredObject

Misc = Callable[..., Result]

NETWORK = b"weights of a learned codec" * 40_000
SHA256 = hashlib.sha256(NETWORK).hexdigest()


class Place:
    """A data folder and a folder of weights, of which the environment tells."""

    def __init__(self, root: Path, migrated_file: Path) -> None:
        self.data, self.weights = root / "data", WeightsStore(root / "weights")
        (self.data / "objects").mkdir(parents=True)
        shutil.copy(migrated_file, self.data / "misc.db")

    def database(self) -> Database:
        """Its database."""
        return Database(DatabaseSettings(url=f"sqlite:///{self.data}/misc.db"))

    def add_stream(self, stream: Stream) -> None:
        """Take a stream in."""
        storage = LocalStorage(self.data / "objects")
        packed = pack(stream)
        sha256 = hashlib.sha256(packed.data).hexdigest()
        with closing(self.database()) as database:
            bitstreams.put(database, storage, packed.data, sha256)
            with database.write() as session:
                images.import_bitstream(session, NewStream("alice", "boat.misc", sha256, stream, packed.bits))
            write_missing(database, storage)

    def add_network(self, folder: Path) -> None:
        """Take the network in, as a file of `folder`."""
        file = folder / "mine.pth.tar"
        file.write_bytes(NETWORK)
        self.weights.add(file, name="mine", part=Part.COARSE, architecture="mbt2018-mean", rate=2)


@pytest.fixture
def place(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One stream of a learned codec and one that needs no network; the network is not here."""
    for name in ("MISC_DATABASE_URL", "MISC_STORAGE_PATH", "MISC_STORAGE_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    place = Place(tmp_path, migrated_file)
    monkeypatch.setenv("MISC_DATA", str(place.data))
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(place.weights.path))
    place.add_stream(Stream(640, 480, PixelCoarse(columns=4, rows=3, level=3, samples=bytes(36))))
    place.add_stream(Stream(640, 480, NetCoarse(2, bytes(40)), coarse_network=bytes.fromhex(SHA256[:8])))
    return place


def test_missing_network_is_told_with_its_images(misc: Misc, place: Place) -> None:
    told = misc("admin", "closure", "--json")
    assert told.exit_code == 1, told.stderr
    (missing,) = json.loads(told.stdout)["missing_networks"]
    assert (missing["part"], missing["prefix"], missing["count"]) == ("coarse", SHA256[:8], 1)
    with closing(place.database()) as database, database.read() as session:
        need = session.query(Image).filter(Image.mode == "net").one()
        assert missing["images"] == [need.id]
    for command in (("admin", "closure"), ("admin", "check"), ("admin", "fixity")):
        told = misc(*command)
        assert (told.exit_code, need.id in told.stdout) == (1, True), told.stdout


def test_stream_from_before_networks_were_noted_is_read(misc: Misc, place: Place) -> None:
    with closing(place.database()) as database:
        database.execute_alone(update(Image).values(networks=None))
    document = json.loads(misc("admin", "closure", "--json").stdout)
    assert [(one["part"], one["prefix"], one["images"]) for one in document["networks"]] == [("coarse", SHA256[:8], 1)]


def test_network_is_stored_and_taken_back(misc: Misc, place: Place, tmp_path: Path) -> None:
    place.add_network(tmp_path)
    held = misc("admin", "closure", "--json")
    (network,) = json.loads(held.stdout)["networks"]
    assert (held.exit_code, network["installed"], network["stored"], network["name"]) == (0, True, False, "mine")
    stored = misc("admin", "closure", "--store", "--json")
    (network,) = json.loads(stored.stdout)["networks"]
    assert (stored.exit_code, network["installed"], network["stored"]) == (0, True, True), stored.stderr
    (path,) = (place.data / "objects" / "networks").rglob("*.weights")
    assert (path.stem, path.read_bytes()) == (SHA256, NETWORK)
    with closing(place.database()) as database, database.read() as session:
        row = session.get_one(StoredObject, f"networks/{SHA256}.weights")
        assert (row.kind, row.size_bytes, row.last_verified_at is not None) == ("network", len(NETWORK), True)

    before = place.weights.records()["mine"]
    place.weights.remove("mine", is_forced=True)
    kept = misc("admin", "closure", "--json")
    (network,) = json.loads(kept.stdout)["networks"]
    assert (kept.exit_code, network["installed"], network["stored"], network["name"]) == (0, False, True, "mine")
    taken = misc("weights", "pull", "mine", "--from-archive")
    assert (taken.exit_code, taken.stdout) == (0, f"mine: fetched, SHA-256 {SHA256}\n"), taken.stderr
    after = place.weights.records()["mine"]
    fields = ("name", "part", "architecture", "file", "sha256", "bytes", "profiles", "rate", "licence")
    assert [getattr(after, name) for name in fields] == [getattr(before, name) for name in fields]
    assert place.weights.checked(after).read_bytes() == NETWORK
    assert misc("weights", "pull", "--from-archive").stdout == f"mine: was here, SHA-256 {SHA256}\n"
    assert misc("weights", "pull", "other", "--from-archive").exit_code == 2


def test_damaged_network_is_found_and_replaced(misc: Misc, place: Place, tmp_path: Path) -> None:
    place.add_network(tmp_path)
    assert misc("admin", "closure", "--store").exit_code == 0
    (path,) = (place.data / "objects" / "networks").rglob("*.weights")
    path.write_bytes(NETWORK[:-1] + b"?")
    assert misc("admin", "fixity", "--verify").exit_code == 1
    place_again = misc("admin", "closure", "--store")
    assert place_again.exit_code == 0, place_again.stderr
    assert path.read_bytes() == NETWORK
    assert misc("admin", "fixity", "--verify").exit_code == 0


def test_stored_networks_outlive_the_database_and_every_sweep(
    misc: Misc, place: Place, tmp_path: Path, migrated_file: Path
) -> None:
    place.add_network(tmp_path)
    assert misc("admin", "closure", "--store").exit_code == 0
    place.weights.remove("mine", is_forced=True)
    for file in place.data.glob("misc.db*"):
        file.unlink()
    assert misc("admin", "rebuild").exit_code == 0
    assert misc("admin", "check", "--repair").exit_code == 0
    (network,) = json.loads(misc("admin", "closure", "--json").stdout)["networks"]
    assert (network["stored"], network["name"]) == (True, "mine")


@pytest.mark.parametrize("form", ["bagit", "ocfl"])
def test_networks_travel_with_an_export(
    misc: Misc, place: Place, tmp_path: Path, migrated_file: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = misc("export", "all", "--networks", "--as", form, "--to", tmp_path / "bare", "--json")
    assert (bare.exit_code, json.loads(bare.stdout)["missing_networks"]) == (1, [SHA256[:8]])
    place.add_network(tmp_path)
    made = misc("export", "all", "--networks", "--as", form, "--to", tmp_path / "out", "--json")
    assert (made.exit_code, json.loads(made.stdout)["networks"]) == (0, 1), made.stderr
    elsewhere = Place(tmp_path / "elsewhere", migrated_file)
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(elsewhere.weights.path))
    taken = misc("import", tmp_path / "out", "--untrusted", "--data", elsewhere.data, "--json")
    assert (taken.exit_code, json.loads(taken.stdout)["networks"]) == (0, 1), taken.stderr
    assert misc("admin", "closure", "--data", elsewhere.data).exit_code == 0
    assert misc("weights", "pull", "--from-archive", "--data", elsewhere.data).exit_code == 0
    record = elsewhere.weights.records()["mine"]
    assert elsewhere.weights.checked(record).read_bytes() == NETWORK
    assert (
        misc(
            "export", "all", "--networks", "--as", form, "--to", tmp_path / "again", "--data", elsewhere.data
        ).exit_code
        == 0
    )
    for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def _networks_in(place: Place) -> list[str]:
    return sorted(path.name for path in (place.data / "objects" / "networks").rglob("*.*"))


def test_stored_network_that_a_stream_names_is_not_deleted(misc: Misc, place: Place, tmp_path: Path) -> None:
    place.add_network(tmp_path)
    assert misc("admin", "closure", "--store").exit_code == 0
    before = _networks_in(place)
    for word in ("mine", SHA256, SHA256[:12]):
        refused = misc("admin", "closure", "--delete", word, "--json")
        assert refused.exit_code == 1
        assert (
            "is named by the streams of 1 images, as coarse" in json.loads(refused.stdout)["errors"][SHA256]["message"]
        )
    spared = misc("admin", "closure", "--delete", "all", "--json")
    assert (spared.exit_code, json.loads(spared.stdout)["deleted"]) == (0, [])
    assert _networks_in(place) == before and len(before) == 2


def test_stored_network_that_no_stream_names_is_deleted_with_its_card(misc: Misc, place: Place, tmp_path: Path) -> None:
    place.add_network(tmp_path)
    assert misc("admin", "closure", "--store").exit_code == 0
    with closing(place.database()) as database, database.write() as session:
        for image in session.scalars(select(Image)).unique().all():
            images.delete_image(session, image.id, EVERYTHING)
    unknown = misc("admin", "closure", "--delete", "other")
    assert unknown.exit_code == 1 and "The archive stores no network other." in unknown.stderr
    gone = misc("admin", "closure", "--delete", "all", "--json")
    assert gone.exit_code == 0, gone.stderr
    assert json.loads(gone.stdout)["deleted"] == [{"name": "mine", "sha256": SHA256, "bytes": len(NETWORK)}]
    assert _networks_in(place) == []
    with closing(place.database()) as database, database.read() as session:
        assert session.scalars(select(StoredObject).where(StoredObject.kind == ObjectKind.NETWORK)).all() == []
    place.add_stream(Stream(640, 480, NetCoarse(2, bytes(40)), coarse_network=bytes.fromhex(SHA256[:8])))
    assert misc("admin", "closure", "--store").exit_code == 0, "it may be stored again"
    assert len(_networks_in(place)) == 2
