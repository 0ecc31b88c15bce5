"""What is exported as OCFL is valid to a validator of others."""

import hashlib
import json
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codec.bitstream import PixelCoarse, Stream, pack
from core.archive import bitstreams, images
from core.archive.exchange.export import Order, export
from core.archive.exchange.form import Form
from core.archive.exchange.selection import Selection
from core.archive.images import NewStream
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from migrations.upgrade import upgrade
from tests.ocfl_validator import install

_PYTHON = install.ENVIRONMENT / "bin" / "python"
_VALIDATE = Path(install.__file__).with_name("validate.py")


def _validated(root: Path) -> dict[str, Any]:
    command = [_PYTHON, "-I", _VALIDATE, root]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(not _PYTHON.exists(), reason="`make test`, or python -m tests.ocfl_validator.install, installs it")
def test_storage_root_is_valid(tmp_path: Path) -> None:
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    storage = LocalStorage(tmp_path / "objects")
    with closing(Database(settings)) as database:
        for level in (3, 4, 5):
            stream = Stream(640, 480, PixelCoarse(columns=4, rows=3, level=level, samples=bytes(36)))
            packed = pack(stream)
            sha256 = hashlib.sha256(packed.data).hexdigest()
            bitstreams.put(database, storage, packed.data, sha256)
            with database.write() as session:
                images.import_bitstream(session, NewStream("alice", "boat.misc", sha256, stream, packed.bits))
        export(database, storage, Order(Selection(), Form.OCFL), tmp_path / "root")
        export(database, storage, Order(Selection(), Form.OCFL), tmp_path / "root.tar")
    shutil.unpack_archive(tmp_path / "root.tar", tmp_path / "files")
    # The one thing that it would like better are longer digests.
    expected = {"valid": True, "objects": 3, "good": 3, "codes": ["W004"]}
    assert _validated(tmp_path / "root") == expected
    assert _validated(tmp_path / "files" / "misc-export") == expected
    content = next((tmp_path / "root").rglob("v1/content/bitstreams/*.misc"))
    content.write_bytes(content.read_bytes()[:-1] + b"?")
    assert _validated(tmp_path / "root")["good"] == 2
