"""Two imports of the same new images at the same moment end well for both."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bench.rebuild import fill
from core.archive.exchange import intake
from core.archive.exchange.export import Order, export
from core.archive.exchange.form import Form
from core.archive.exchange.intake import Imported, take_in
from core.archive.exchange.selection import Selection
from core.archive.exchange.verification import opened_export, verify
from core.database import Database
from core.settings import DatabaseSettings
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models.batch import Batch
from models.image import Image
from models.pending_deletion import PendingDeletion

_IMAGES = 120
_IMPORTS = 3


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Path]:
    """A tar of images of two owners, in a batch, some with their original."""
    folder = tmp_path / "there"
    settings = DatabaseSettings(url=f"sqlite:///{folder}/misc.db")
    upgrade(settings)
    with closing(Database(settings)) as database, closing(LocalStorage(folder / "objects")) as storage:
        fill(database, storage, _IMAGES)
        export(database, storage, Order(Selection(), Form.TAR), tmp_path / "images.tar")
    yield tmp_path / "images.tar"


@pytest.mark.parametrize("owners", [(None, None, None), ("alice", "bob", None)], ids=["as-recorded", "of-three-owners"])
def test_imports_of_the_same_new_images_at_the_same_moment_end_well_for_all(
    database: Database,
    exported: Path,
    tmp_path: Path,
    owners: Sequence[str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = Copies(LocalStorage(tmp_path / "here"))
    _meet_before_recording(monkeypatch)

    def _take(owner: str | None) -> Imported:
        with opened_export(exported) as found:
            verify(found)
            return take_in(database, copies, found, owner)

    with ThreadPoolExecutor(_IMPORTS) as pool:
        imports = list(pool.map(_take, owners))
    assert sum(one.images for one in imports) == _IMAGES
    assert all(one.images + one.there_already + len(one.conflicts) == _IMAGES for one in imports), imports
    if len(set(owners)) == 1:
        assert not any(one.conflicts for one in imports)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == _IMAGES
        assert session.scalar(select(func.count()).select_from(Batch)) == 1
        # What a reservation was left of is swept later, and is no object's only row.
        keys = set(session.scalars(select(PendingDeletion.key)))
        needed = {f"bitstreams/{sha256}.misc" for sha256 in session.scalars(select(Image.bitstream_sha256))}
    assert not keys & needed


def _meet_before_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the imports wait for each other when each has stored what the images of a lot need."""
    met, record = threading.Barrier(_IMPORTS), intake._record

    def _record(*arguments: Any) -> int:
        met.wait(60)
        return record(*arguments)

    monkeypatch.setattr(intake, "_record", _record)
