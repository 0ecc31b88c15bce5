"""`misc export`, `misc import` and `misc keys signing` on data folders."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from codec.bitstream import PixelCoarse, Stream, pack
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage

Misc = Callable[..., Result]


@pytest.fixture
def folders(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A data folder with two images, and an empty one."""
    for name in ("MISC_DATABASE_URL", "MISC_STORAGE_PATH", "MISC_STORAGE_BACKEND", "MISC_DATA"):
        monkeypatch.delenv(name, raising=False)
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "objects").mkdir(parents=True)
        shutil.copy(migrated_file, folder / "misc.db")
    database, storage = Database(DatabaseSettings(url=f"sqlite:///{here}/misc.db")), LocalStorage(here / "objects")
    for level, owner in ((3, "alice"), (4, "bob")):
        stream = Stream(640, 480, PixelCoarse(columns=4, rows=3, level=level, samples=bytes(36)))
        packed = pack(stream)
        sha256 = hashlib.sha256(packed.data).hexdigest()
        bitstreams.put(database, storage, packed.data, sha256)
        with database.write() as session:
            images.import_bitstream(session, NewStream(owner, "boat.misc", sha256, stream, packed.bits))
    database.close()
    return here, there


def test_signed_export_goes_from_one_archive_to_another(misc: Misc, folders: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = folders
    public = misc("keys", "signing", "create", "--data", here).stdout.strip()
    assert misc("keys", "signing", "show", "--data", here).stdout.strip() == public
    exported = misc("export", "all", "--to", tmp_path / "out", "--data", here, "--json")
    assert exported.exit_code == 0, exported.stderr
    document = json.loads(exported.stdout)
    assert (document["images"], document["files"], document["left_out"], document["key"]) == (2, 4, [], public)
    refused = misc("import", tmp_path / "out", "--data", there)
    assert (refused.exit_code, f"misc keys signing trust {public}" in refused.stderr) == (1, True)
    assert misc("keys", "signing", "trust", public, "--name", "museum", "--data", there).exit_code == 0
    done = misc("import", tmp_path / "out", "--data", there)
    assert done.stdout == "2 images imported, 0 were there already; signed by museum.\n", done.stderr
    assert misc("import", tmp_path / "out", "--data", there, "--json").stdout == (
        '{\n  "images": 0,\n  "there_already": 2,\n  "networks": 0,\n  "conflicts": {},\n  "signer": "museum"\n}\n'
    )
    assert misc("import", tmp_path / "out", "--data", here).stdout.endswith("signed by this archive.\n")
    assert misc("admin", "check", "--data", there).exit_code == 0
    listed = json.loads(misc("keys", "signing", "list", "--data", there, "--json").stdout)
    assert listed == {"own": None, "trusted": [{"key": public, "name": "museum"}]}
    assert misc("keys", "signing", "distrust", "museum", "--data", there).exit_code == 0
    assert misc("import", tmp_path / "out", "--data", there).exit_code == 1


def test_changed_export_is_refused_in_one_sentence(misc: Misc, folders: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = folders
    assert misc("export", "--owner", "bob", "--to", tmp_path / "bob.tar", "--data", here).exit_code == 0
    data = bytearray((tmp_path / "bob.tar").read_bytes())
    data[520] ^= 1
    (tmp_path / "bob.tar").write_bytes(data)
    refused = misc("import", tmp_path / "bob.tar", "--untrusted", "--data", there)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "nothing was taken" in refused.stderr


def test_unsigned_export_needs_a_word(misc: Misc, folders: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = folders
    exported = misc("export", "all", "--to", tmp_path / "root", "--as", "ocfl", "--data", here)
    assert (exported.exit_code, "not signed" in exported.stderr) == (0, True)
    assert misc("import", tmp_path / "root", "--data", there).exit_code == 1
    taken = misc("import", tmp_path / "root", "--untrusted", "--owner", "carol", "--data", there)
    assert taken.stdout == "2 images imported, 0 were there already; nobody signed it.\n", taken.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("export", "--to", "x"), "Say what to export"),
        (("export", "all", "--to", "x", "--as", "tar"), "ends in .tar"),
        (("keys", "signing", "show"), "no signing key"),
        (("keys", "signing", "trust", "1234", "--name", "museum"), "no public key"),
        (("keys", "signing", "distrust", "museum"), "No key of 'museum'"),
    ],
)
def test_wrong_usage(misc: Misc, folders: tuple[Path, Path], words: tuple[str, ...], part: str) -> None:
    refused = misc(*words, "--data", folders[0])
    assert (refused.exit_code, part in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("export", "img_0", "--to", "x"), "no image 'img_0'"),
        (("export", "--search", "!", "--to", "x"), "1 to 10 words"),
        (("export", "all", "--owner", "nobody", "--to", "x"), "nothing to export"),
        (("import", "none"), "no folder and no file none"),
        (("import", "none", "--owner", "two words"), "is no name"),
    ],
)
def test_failure_is_said_in_one_sentence(
    misc: Misc,
    folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    part: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = misc(*words, "--data", folders[0])
    assert (failed.exit_code, part in failed.stderr) == (1, True), failed.stderr
