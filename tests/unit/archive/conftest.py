"""An archive on a migrated SQLite file and a folder, and a way to put streams into it."""

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from codec.bitstream import PixelCoarse, Stream, pack
from core.archive import bitstreams, images
from core.archive.images import NewStream
from core.archive.records.writer import write_missing
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.keys import FOLDERS
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.base import utc_now
from models.stored_object import StoredObject


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


@pytest.fixture
def copies(storage: LocalStorage) -> Copies:
    """The folder without a mirror."""
    return Copies(storage)


@pytest.fixture
def filled(database: Database, storage: LocalStorage, add_image: Callable[..., str]) -> dict[str, bytes]:
    """Eight images with their records, two hours old; all bytes by key."""
    for seed in range(8):
        add_image(seed)
    write_missing(database, storage)
    with database.write() as session:
        session.execute(update(StoredObject).values(created_at=utc_now() - timedelta(hours=2)))
    return {info.key: storage.get(info.key, max_bytes=10**6) for folder in FOLDERS for info in storage.list(folder)}
