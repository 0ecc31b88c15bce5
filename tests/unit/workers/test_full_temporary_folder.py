"""A worker whose temporary folder is full puts the job off, without counting an attempt, until there is room."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codec.weights.store import WeightsStore
from core.broker import MAINTENANCE
from core.database import Database
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.jobs.lease import LeaseKeeper
from core.settings import DatabaseSettings, WorkerSettings
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models import Job, JobState
from models.job import JobKind
from tests.unit.workers.silent import Silent
from workers.context import Record, WorkContext, temporary_copy
from workers.runner import Runner
from workers.services import WorkerServices

ORIGINAL, DATA = "originals/a", b"an original"


class Fetching:
    """A worker whose job fetches an original."""

    def __init__(self, database: Database, folder: Path) -> None:
        silent: Any = Silent()
        settings = WorkerSettings()
        self.storage = LocalStorage(folder / "objects")
        self.storage.put(ORIGINAL, DATA, content_type="image/png", sha256=hashlib.sha256(DATA).hexdigest())
        weights, copies = WeightsStore(folder), Copies(self.storage)
        services = WorkerServices(settings, database, self.storage, silent, silent, weights, copies)
        handlers: Any = self
        self.database, self.fetched = database, b""
        self.runner = Runner("encode@host:1", handlers, services, LeaseKeeper(database, settings.lease))
        with database.write() as session:
            self.job_id = transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE))

    def of(self, _kind: str) -> Callable[[WorkContext], Record | None]:
        return self._fetch

    def _fetch(self, _context: WorkContext) -> None:
        with temporary_copy(self.storage, ORIGINAL, None) as path:
            self.fetched = path.read_bytes()

    def run(self) -> tuple[str, int, str | None]:
        with self.database.write() as session:
            transitions.wake(session, [self.job_id])
        self.runner.run(MAINTENANCE)
        with self.database.read() as session:
            job = session.get_one(Job, self.job_id)
            return job.state, job.attempts, job.error_code


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Fetching]:
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    database = Database(settings)
    yield Fetching(database, tmp_path)
    database.close()


def no_file(**_: object) -> tuple[int, str]:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_bytes(**_: object) -> tuple[int, str]:
    """A name under which nothing can be written: the device that is always full."""
    name = Path(tempfile.mkdtemp()) / "copy"
    name.symlink_to("/dev/full")
    return os.open(os.devnull, os.O_RDONLY), str(name)


@pytest.mark.parametrize("made", [no_file, no_bytes])
def test_job_waits_without_an_attempt_until_there_is_room(
    worker: Fetching, monkeypatch: pytest.MonkeyPatch, made: Callable[..., tuple[int, str]]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", made)
        for _ in range(WorkerSettings().max_attempts + 1):
            assert worker.run() == (JobState.QUEUED, 0, "storage_full")
    assert worker.run()[:2] == (JobState.SUCCEEDED, 1)
    assert worker.fetched == DATA
