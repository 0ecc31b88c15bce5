"""`misc admin`: rebuilds and checks the archive of a data folder."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from codec.bitstream import PixelCoarse, Stream, pack
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.archive.records.writer import write_missing
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from migrations.upgrade import upgrade

Misc = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one image, named by the environment."""
    folder = tmp_path / "data"
    monkeypatch.setenv("MISC_DATA", str(folder))
    for name in ("MISC_DATABASE_URL", "MISC_STORAGE_PATH", "MISC_STORAGE_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    settings = DatabaseSettings(url=f"sqlite:///{folder}/misc.db")
    upgrade(settings)
    database, storage = Database(settings), LocalStorage(folder / "objects")
    stream = Stream(640, 480, PixelCoarse(columns=4, rows=3, level=3, samples=bytes(36)))
    packed = pack(stream)
    sha256 = hashlib.sha256(packed.data).hexdigest()
    bitstreams.put(database, storage, packed.data, sha256)
    with database.write() as session:
        images.import_bitstream(session, NewStream("alice", "boat.misc", sha256, stream, packed.bits))
    write_missing(database, storage)
    database.close()
    return folder


def _lose_database(folder: Path) -> None:
    for path in folder.glob("misc.db*"):
        path.unlink()


def _names(folder: Path) -> list[tuple[str, str]]:
    database = Database(DatabaseSettings(url=f"sqlite:///{folder}/misc.db"))
    try:
        with database.read() as session:
            return [(row.owner, row.name) for row in images.list_images(session, EVERYTHING, limit=10).rows]
    finally:
        database.close()


def test_database_that_was_deleted_is_made_again(misc: Misc, folder: Path) -> None:
    _lose_database(folder)
    done = misc("admin", "rebuild")
    assert (done.exit_code, done.stdout) == (0, "1 images restored, 0 streams without a record taken in.\n")
    assert _names(folder) == [("alice", "boat.misc")]
    assert misc("admin", "check").exit_code == 0


def test_rebuild_tells_what_it_cannot_read(misc: Misc, folder: Path) -> None:
    _lose_database(folder)
    (path,) = (folder / "objects" / "records").rglob("*.json")
    path.write_text("{}")
    done = misc("admin", "rebuild", "--unrecorded", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert (document["images"], document["streams"], list(document["unreadable"])) == (0, 1, [f"records/{path.name}"])
    assert path.name in done.stderr
    assert [name for _, name in _names(folder)] != ["boat.misc"]


def test_check_finds_and_repairs(misc: Misc, folder: Path) -> None:
    (path,) = (folder / "objects" / "records").rglob("*.json")
    path.unlink()
    found = misc("admin", "check")
    assert found.exit_code == 1 and f"missing  records/{path.name}" in found.stdout
    repaired = misc("admin", "check", "--repair", "--json")
    assert repaired.exit_code == 0
    assert json.loads(repaired.stdout) == {
        "objects": 1,
        "unrecorded": 0,
        "missing_networks": [],
        "findings": [
            {
                "key": f"records/{path.name}",
                "kind": "record",
                "fault": "missing",
                "repair": "the record is written anew",
            }
        ],
    }
    assert path.exists()


def test_folder_without_an_archive_is_refused_in_a_sentence(misc: Misc, folder: Path, tmp_path: Path) -> None:
    refused = misc("admin", "rebuild", "--data", tmp_path / "elsewhere")
    assert refused.exit_code == 2 and "There is no storage of an archive" in refused.stderr
    assert not (tmp_path / "elsewhere").exists()
    _lose_database(folder)
    refused = misc("admin", "check")
    assert refused.exit_code == 2 and "There is no archive" in refused.stderr


def test_fixity_tells_verifies_and_mends_from_the_mirror(
    misc: Misc, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = misc("admin", "fixity")
    assert (told.exit_code, told.stdout) == (0, "2 objects: 0 damaged, 2 never verified.\n")
    monkeypatch.setenv("MISC_STORAGE_MIRROR_POLICY", "behind")
    monkeypatch.setenv("MISC_STORAGE_MIRROR_PATH", str(tmp_path / "mirror"))
    assert "2 mirrored" in misc("admin", "fixity", "--verify").stdout
    (path,) = (folder / "objects" / "bitstreams").rglob("*.misc")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    document = json.loads(misc("admin", "fixity", "--verify", "--json").stdout)
    assert document["outcomes"] == {"intact": 1, "restored": 1}
    assert (document["damaged"], document["unmirrored"]) == ([], 0)
    assert path.read_bytes() == data


def test_fixity_names_what_is_damaged(misc: Misc, folder: Path) -> None:
    (path,) = (folder / "objects" / "bitstreams").rglob("*.misc")
    path.write_bytes(b"nothing")
    told = misc("admin", "fixity", "--verify")
    assert told.exit_code == 1
    assert f"damaged  bitstreams/{path.name}" in told.stdout


def test_packs_are_made_told_and_taken_apart(misc: Misc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_PACK_AGE", "0")
    assert misc("admin", "packs").stdout == "0 packs: 0 streams and records (0 bytes), 0 dead (0 bytes).\n"
    packed = misc("admin", "packs", "--pack", "--json")
    (pack,) = json.loads(packed.stdout)["packs"]
    assert (pack["live"], pack["dead"], pack["is_damaged"]) == (2, 0, False)
    files = [path for path in (folder / "objects").rglob("*.*") if path.is_file()]
    assert [path.suffix for path in files] == [".pack"]
    _lose_database(folder)
    assert misc("admin", "rebuild").stdout == "1 images restored, 0 streams without a record taken in.\n"
    assert misc("admin", "check").exit_code == 0
    apart = misc("admin", "packs", "--unpack")
    assert apart.stdout == "0 packs: 0 streams and records (0 bytes), 0 dead (0 bytes).\n", apart.output
    files = [path for path in (folder / "objects").rglob("*.*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".json", ".misc"]
    assert misc("admin", "packs", "--pack", "--unpack").exit_code == 2
