"""A running decode is as urgent for the engine as its job is by now."""

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from codec.decode.engine.turns import Priority, Urgency
from core.broker import DECODE
from core.database import Database
from core.jobs import claims, transitions
from core.jobs.job import JobSpec
from core.jobs.lease import LeaseKeeper
from core.settings import DatabaseSettings, WorkerSettings
from models import JobKind, JobPriority
from models.base import utc_now
from workers.context import WorkContext
from workers.decode.handler import _urgency

UNUSED: Any = None
LEASE = WorkerSettings().lease


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    shutil.copy(migrated_file, tmp_path / "misc.db")
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    yield database
    database.close()


def test_bulk_decode_under_way_is_raised_with_the_next_renewal_of_its_lease(database: Database) -> None:
    with database.write() as session:
        job_id = transitions.create(session, JobSpec(JobKind.PROBE, DECODE, priority=JobPriority.BULK))
    claim = claims.claim(database, DECODE, "worker", LEASE)
    assert claim is not None
    keeper = LeaseKeeper(database, LEASE)
    job = keeper.hold(claim)
    context = WorkContext(job, database, UNUSED, UNUSED, UNUSED)
    assert _urgency(context) == Urgency(Priority.BULK)
    transitions.hasten(database, [job_id], JobPriority.INTERACTIVE, utc_now() + timedelta(seconds=60))
    keeper._renew_all()
    raised = _urgency(context)
    assert raised.priority is Priority.INTERACTIVE
    assert raised.deadline is not None and 50 < raised.deadline - time.monotonic() <= 60


def test_priority_of_a_newer_version_is_no_hurry(database: Database) -> None:
    with database.write() as session:
        transitions.create(session, JobSpec(JobKind.PROBE, DECODE))
    claim = claims.claim(database, DECODE, "worker", LEASE)
    assert claim is not None
    job = LeaseKeeper(database, LEASE).hold(claim)
    job.priority = "overnight"
    assert _urgency(WorkContext(job, database, UNUSED, UNUSED, UNUSED)) == Urgency(Priority.BULK)
