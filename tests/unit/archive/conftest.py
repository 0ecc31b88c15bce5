"""An archive on a migrated SQLite file and a folder, and a way to put streams into it."""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codec.bitstream import PixelCoarse, Stream, pack
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A database of its own for each test."""
    shutil.copy(migrated_file, tmp_path / "misc.db")
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    yield database
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """A folder beside it."""
    return LocalStorage(tmp_path / "objects")


@pytest.fixture
def add_image(database: Database, storage: LocalStorage) -> Callable[..., str]:
    """Takes a stream in; returns the image's id."""

    def _add(seed: int = 0, *, owner: str = "default", name: str = "a boat.misc") -> str:
        samples = bytes(value // 8 for value in random.Random(seed).randbytes(36))
        stream = Stream(640, 480, PixelCoarse(columns=4, rows=3, level=3, samples=samples))
        packed = pack(stream)
        sha256 = hashlib.sha256(packed.data).hexdigest()
        bitstreams.put(database, storage, packed.data, sha256)
        new = NewStream(owner, name, sha256, stream, packed.bits)
        with database.write() as session:
            imported = images.import_bitstream(session, new)
            assert imported is not None
            return imported[0].id

    return _add
