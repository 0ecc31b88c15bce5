"""`misc backup` and `misc restore`: one tar of a data folder, every digest of which is checked on the way back."""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import select, update

from cli.up import backup
from cli.up.backup import read_backup, write_backup
from cli.up.data_folder import DataFolder
from codec.bitstream import unpack
from core.archive import bitstreams, deletions, images
from core.archive.images import NewStream, import_bitstream
from core.archive.packs import packer
from core.archive.packs.loose_copies import sweep_copies
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings, PackSettings, StorageSettings, sqlite_url
from core.storage import open_storage
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models.base import utc_now
from models.image import Image
from models.pending_deletion import PendingDeletion
from models.stored_object import StoredObject
from tests.unit.api.samples import stream

Misc = Callable[..., Result]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Three streams; tests work on copies."""
    folder = DataFolder(tmp_path_factory.mktemp("archive"))
    upgrade(DatabaseSettings(url=sqlite_url(folder.database)))
    for shade in (1, 2, 3):
        add_stream(folder, shade)
    return folder


@pytest.fixture
def folder(archive: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    for name in [name for name in os.environ if name.startswith("MISC_")]:
        monkeypatch.delenv(name)
    shutil.copytree(archive.path, tmp_path / "data")
    return DataFolder(tmp_path / "data")


def add_stream(folder: DataFolder, shade: int) -> str:
    """What `POST /v1/bitstreams` does; returns the key."""
    data = stream(shade)
    sha256 = hashlib.sha256(data).hexdigest()
    database = Database(DatabaseSettings(url=sqlite_url(folder.database)))
    try:
        bitstreams.put(database, open_storage(StorageSettings(path=folder.objects)), data, sha256)
        unpacked = unpack(data)
        with database.write() as session:
            import_bitstream(
                session, NewStream("default", f"{shade}.misc", sha256, unpacked.stream, unpacked.bits, None)
            )
    finally:
        database.close()
    return f"bitstreams/{sha256}.misc"


def rows(folder: DataFolder) -> list[tuple]:
    connection = sqlite3.connect(folder.database)
    try:
        return sorted(connection.execute("SELECT name, bitstream_bytes FROM images"))
    finally:
        connection.close()


def objects(folder: DataFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.objects.rglob("*.misc")}


def damaged(tar: Path, name: str, data: bytes | None) -> None:
    """Rewrite a tar with other bytes in one file, or without it."""
    files = {}
    with tarfile.open(tar) as old:
        for member in old:
            files[member.name] = old.extractfile(member).read()  # type: ignore[union-attr]
    if data is None:
        del files[name]
    else:
        files[name] = data
    with tarfile.open(tar, "w") as new:
        for one, content in files.items():
            member = tarfile.TarInfo(one)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))


def pack(folder: DataFolder) -> list[str]:
    """Have all streams lie in packs, or in other packs than before; returns the keys of packs in storage."""
    storage = open_storage(StorageSettings(path=folder.objects))
    settings = PackSettings(age=timedelta(0), dead_share=0.01)
    with closing(Database(DatabaseSettings(url=sqlite_url(folder.database)))) as database:
        with database.write() as session:
            session.execute(update(StoredObject).values(created_at=utc_now() - timedelta(hours=2)))
        while packer.pack_loose(database, Copies(storage), settings, fills=False):
            pass
        packer.rewrite(database, Copies(storage), settings)
        packer.drop_empty(database)
        sweep_copies(database, storage)
        deletions.sweep(database, storage)
    return [info.key for info in storage.list("packs/")]


def delete_one(folder: DataFolder) -> None:
    """Delete an image, whose stream is dead in its pack then."""
    with closing(Database(DatabaseSettings(url=sqlite_url(folder.database)))) as database:
        with database.write() as session:
            images.delete_image(session, session.scalars(select(Image.id).order_by(Image.id)).all()[0], EVERYTHING)
            # As if the hour was over in which somebody might be about to refer to it.
            is_stream = PendingDeletion.key.startswith("bitstreams/")
            session.execute(update(PendingDeletion).where(is_stream).values(due_at=utc_now()))
        deletions.sweep(database, open_storage(StorageSettings(path=folder.objects)))


def streams_of(folder: DataFolder) -> dict[str, bytes]:
    """What every image of the archive has, wherever it lies."""
    storage = open_storage(StorageSettings(path=folder.objects))
    with closing(Database(DatabaseSettings(url=sqlite_url(folder.database)))) as database:
        with database.read() as session:
            digests = session.scalars(select(Image.bitstream_sha256)).all()
        return {sha256: bitstreams.get(database, storage, sha256) for sha256 in digests if sha256}


def test_streams_that_are_packed_while_they_are_saved_are_in_the_backup(folder: DataFolder, tmp_path: Path) -> None:
    before = streams_of(folder)
    made = write_backup(folder, tmp_path / "a.tar", lambda _key: pack(folder) and None)
    assert len(pack(folder)) == 1 and not list(folder.objects.rglob("*.misc")), "packs were made meanwhile"
    assert made.lost == ()
    other = DataFolder(tmp_path / "other")
    other.path.mkdir()
    assert read_backup(tmp_path / "a.tar", other).lost == ()
    assert streams_of(other) == before and len(before) == 3


def test_pack_that_is_rewritten_while_it_is_saved_is_in_the_backup(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packed,) = pack(folder)
    before = streams_of(folder)
    put_log_away = backup._put_log_away

    def _rewrite_meanwhile(path: Path) -> None:
        put_log_away(path)
        delete_one(folder)
        assert len(pack(folder)) == 2, "the old one is kept for the backup"

    monkeypatch.setattr(backup, "_put_log_away", _rewrite_meanwhile)
    made = write_backup(folder, tmp_path / "a.tar")
    assert made.lost == ()
    other = DataFolder(tmp_path / "other")
    other.path.mkdir()
    assert read_backup(tmp_path / "a.tar", other).lost == ()
    assert streams_of(other) == before and len(before) == 3
    (left,) = pack(folder)
    assert left != packed and len(streams_of(folder)) == 2, "nothing holds the old one any more"


def test_archive_comes_back_whole_in_another_folder(misc: Misc, folder: DataFolder, tmp_path: Path) -> None:
    tar, other = tmp_path / "to" / "archive.tar", DataFolder(tmp_path / "other")
    made = misc("backup", tar, "--data", folder.path, "--json")
    assert made.exit_code == 0, made.stderr
    document = json.loads(made.stdout)
    assert (document["objects"], document["bytes"], document["lost"]) == (3, tar.stat().st_size, [])
    assert stat.S_IMODE(tar.stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.path.iterdir() if not path.name.startswith("misc.db-")) == [
        "misc.db", "objects"
    ]  # fmt: skip

    back = misc("restore", tar, "--data", other.path)
    assert back.exit_code == 0, back.stderr
    assert rows(other) == rows(folder) and len(rows(other)) == 3
    assert objects(other) == objects(folder)
    assert stat.S_IMODE(other.path.stat().st_mode) == 0o700
    assert not list(other.path.glob(".restore-*"))


def test_digests_are_told_as_other_tools_check_them(misc: Misc, folder: DataFolder, tmp_path: Path) -> None:
    misc("backup", tmp_path / "a.tar", "--data", folder.path)
    with tarfile.open(tmp_path / "a.tar") as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    sums = files.pop("SHA256SUMS").decode()
    assert sums == "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    assert len(files) == 4


def test_backup_is_of_one_moment_while_others_write(
    misc: Misc, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[str] = []
    opened = LocalStorage.open

    def open_and_add(self, key, **more):  # type: ignore[no-untyped-def]
        if not late:
            late.append("")
            late[0] = add_stream(folder, 9)
        return opened(self, key, **more)

    monkeypatch.setattr(LocalStorage, "open", open_and_add)
    held = sqlite3.connect(folder.database)
    held.execute("BEGIN")
    held.execute("SELECT count(*) FROM images").fetchone()
    assert misc("backup", tmp_path / "a.tar", "--data", folder.path).exit_code == 0
    held.close()
    assert misc("restore", tmp_path / "a.tar", "--data", tmp_path / "other").exit_code == 0
    assert len(rows(folder)) == 4 and len(rows(DataFolder(tmp_path / "other"))) == 3
    assert late[0].removeprefix("bitstreams/") not in objects(DataFolder(tmp_path / "other"))


def test_damaged_and_lost_objects_are_named_and_the_rest_is_saved(
    misc: Misc, folder: DataFolder, tmp_path: Path
) -> None:
    first, second, third = sorted(folder.objects.rglob("*.misc"))
    first.write_bytes(b"damaged")
    second.unlink()
    made = misc("backup", tmp_path / "a.tar", "--data", folder.path, "--json")
    assert made.exit_code == 1 and "2 objects are damaged or gone" in made.stderr
    assert json.loads(made.stdout)["lost"] == [f"bitstreams/{first.name}", f"bitstreams/{second.name}"]
    back = misc("restore", tmp_path / "a.tar", "--data", tmp_path / "other")
    assert back.exit_code == 1 and first.name in back.stderr
    assert list(objects(DataFolder(tmp_path / "other"))) == [third.name]


@pytest.mark.parametrize("what", ["database", "object", "no object", "no end", "cut", "foreign", "climbing"])
def test_backup_that_is_not_whole_changes_nothing(misc: Misc, folder: DataFolder, tmp_path: Path, what: str) -> None:
    tar, other = tmp_path / "a.tar", DataFolder(tmp_path / "other")
    misc("backup", tar, "--data", folder.path)
    name = next(path.name for path in folder.objects.rglob("*.misc"))
    if what == "database":
        damaged(tar, "misc.db", folder.database.read_bytes()[:-1] + b"x")
    elif what in ("object", "no object"):
        damaged(tar, f"objects/bitstreams/{name}", b"other" if what == "object" else None)
    elif what == "no end":
        damaged(tar, "SHA256SUMS", None)
    elif what == "cut":
        tar.write_bytes(tar.read_bytes()[:9000])
    elif what == "foreign":
        tar.write_bytes(b"no tar at all" * 100)
    else:
        damaged(tar, "objects/../../evil", b"x")
    back = misc("restore", tar, "--data", other.path)
    assert back.exit_code == 1 and "Traceback" not in back.stderr
    assert back.stderr.startswith(f"misc: {tar} is")
    assert [path.name for path in other.path.iterdir()] == ["lock"]
    assert not (tmp_path / "evil").exists()


def test_folder_that_a_service_works_in_is_refused(misc: Misc, folder: DataFolder, tmp_path: Path) -> None:
    misc("backup", tmp_path / "a.tar", "--data", folder.path)
    held = folder.lock()
    refused = misc("restore", tmp_path / "a.tar", "--data", folder.path, "--replace")
    os.close(held)
    assert refused.exit_code == 1 and f"in use by another running service (process {os.getpid()})" in refused.stderr
    assert len(rows(folder)) == 3


def test_archive_that_is_there_is_refused_or_moved_aside(misc: Misc, folder: DataFolder, tmp_path: Path) -> None:
    misc("backup", tmp_path / "a.tar", "--data", folder.path)
    add_stream(folder, 9)
    refused = misc("restore", tmp_path / "a.tar", "--data", folder.path)
    assert refused.exit_code == 1 and "--replace" in refused.stderr
    assert len(rows(folder)) == 4
    assert misc("restore", tmp_path / "a.tar", "--data", folder.path, "--replace").exit_code == 0
    assert len(rows(folder)) == len(objects(folder)) == 3
    (aside,) = tmp_path.glob("data.before-*")
    assert len(rows(DataFolder(aside))) == len(objects(DataFolder(aside))) == 4


def test_archives_elsewhere_are_for_their_own_tools(
    misc: Misc, folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = misc("backup", tmp_path / "a.tar", "--data", tmp_path / "nowhere")
    assert nothing.exit_code == 1 and "There is no archive" in nothing.stderr
    monkeypatch.setenv("MISC_DATABASE_URL", "postgresql://db/misc")
    for command in ("backup", "restore"):
        refused = misc(command, tmp_path / "a.tar", "--data", folder.path)
        assert refused.exit_code == 2 and "MISC_DATABASE_URL" in refused.stderr
