"""A full queue takes no more, and looking whether it is full costs one count a second."""

from pathlib import Path

import pytest

from core.database import Database
from core.errors import LimitReached
from core.jobs import transitions
from core.jobs.backpressure import QueueLimit
from core.jobs.job import JobSpec
from core.settings import DatabaseSettings
from models import Base
from models.job import JobKind


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    Base.metadata.create_all(database.engine)
    return database


def _submit(database: Database, count: int) -> None:
    with database.write() as session:
        for _ in range(count):
            transitions.create(session, JobSpec(JobKind.PROBE, "encode"))


def test_full_queue_takes_no_more_until_jobs_have_ended(database: Database) -> None:
    now = [0.0]
    limit = QueueLimit(database, 3, lambda: now[0])
    _submit(database, 2)
    limit.admit("encode")
    with pytest.raises(LimitReached, match="3 jobs"):
        limit.admit("encode")
    limit.admit("decode", 3)
    now[0] = 1.5
    with database.write() as session:
        session.execute(Base.metadata.tables["jobs"].delete())
    limit.admit("encode", 3)


def test_looking_for_room_takes_none(database: Database) -> None:
    limit = QueueLimit(database, 2)
    _submit(database, 1)
    for _ in range(3):
        limit.check("encode")
    limit.admit("encode")
    with pytest.raises(LimitReached):
        limit.check("encode")


def test_probes_pass_a_full_queue_up_to_their_own_number(database: Database) -> None:
    limit = QueueLimit(database, 1)
    _submit(database, 1)
    limit.admit("encode", spare=1)
    with pytest.raises(LimitReached):
        limit.admit("encode", spare=1)


def test_jobs_are_counted_once_a_second(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[str] = []
    monkeypatch.setattr(QueueLimit, "_count", lambda _, queue, at_most: counts.append(queue) or 0)
    limit = QueueLimit(database, 100, lambda: 0.0)
    for _ in range(50):
        limit.admit("encode")
    assert counts == ["encode"]
