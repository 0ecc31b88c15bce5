"""Lost notifications, unsent notifications and dead workers, on both databases and a real Redis."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.broker import MAINTENANCE, Broker, connect_redis
from core.database import Database
from core.errors import BrokerUnavailable
from core.jobs import outbox, queries, transitions
from core.jobs.job import Claim, JobSpec
from core.jobs.reconciler import Reconciler
from core.settings import BrokerSettings, WorkerSettings
from core.storage.local import LocalStorage
from models import Job, JobKind, JobState, OutboxRow
from models.base import utc_now

LONG_AGO = timedelta(minutes=5)


@pytest.fixture
def reconciler(database: Database, broker: Broker, tmp_path: Path) -> Reconciler:
    return Reconciler(database, broker, LocalStorage(tmp_path / "objects"), WorkerSettings())


def _queued(database: Database, count: int) -> list[str]:
    with database.write() as session:
        return [transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE)) for _ in range(count)]


def _age(database: Database) -> None:
    """Make everything that waits look old, so that no grace applies."""
    with database.write() as session:
        session.execute(update(Job).values(woken_at=utc_now() - LONG_AGO))
        session.execute(update(OutboxRow).values(due_at=utc_now() - LONG_AGO))


def _outbox_size(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(OutboxRow.id))) or 0


def test_notification_of_a_process_that_died_before_sending_it_is_sent(
    database: Database, broker: Broker, reconciler: Reconciler
) -> None:
    _queued(database, 3)
    reconciler.make_pass()
    assert broker.waiting(MAINTENANCE) == 0, "fresh notifications belong to the process that committed them"
    _age(database)
    reconciler.make_pass()
    assert broker.waiting(MAINTENANCE) == 3
    assert _outbox_size(database) == 0


def test_notifications_lost_with_redis_are_sent_again_once(
    database: Database, broker: Broker, reconciler: Reconciler, broker_settings: BrokerSettings
) -> None:
    _queued(database, 50)
    outbox.flush_outbox(database, broker)
    _age(database)
    reconciler.make_pass()
    assert broker.waiting(MAINTENANCE) == 50, "nothing is lost yet, so nothing is sent again"
    connect_redis(broker_settings).flushall()
    reconciler.make_pass()
    reconciler.make_pass()
    assert broker.waiting(MAINTENANCE) == 50


def test_job_of_a_dead_worker_is_queued_again_and_fails_after_its_last_attempt(
    database: Database, broker: Broker, reconciler: Reconciler
) -> None:
    with database.write() as session:
        job_id = transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE, max_attempts=2))
        session.execute(delete(OutboxRow))
    for expected in (JobState.QUEUED, JobState.FAILED):
        assert transitions.claim(database, job_id, "dead", timedelta(seconds=-1)) is not None
        reconciler.make_pass()
        with database.read() as session:
            job = queries.get(session, job_id)
        assert (job.state, job.error_code) == (expected, "worker_lost")
    assert broker.waiting(MAINTENANCE) == 1


def test_job_that_cannot_be_taken_back_holds_up_no_other(
    database: Database, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = _queued(database, 2)
    for job_id in (bad, good):
        assert transitions.claim(database, job_id, "dead", timedelta(seconds=-1)) is not None
    retry = transitions.retry

    def _stumble(session: Session, claim: Claim, *rest: Any) -> None:
        if claim.job_id == bad:
            raise ValueError("nobody foresaw this row")
        retry(session, claim, *rest)

    monkeypatch.setattr(transitions, "retry", _stumble)
    reconciler.make_pass()
    with database.read() as session:
        states = [queries.get(session, job_id).state for job_id in (bad, good)]
    assert states == [JobState.RUNNING, JobState.QUEUED]


def test_sender_survives_a_broker_that_is_away(database: Database, tmp_path: Path) -> None:
    away = Broker(BrokerSettings(url=f"redis+socket://{tmp_path}/nobody.sock"))
    sender = outbox.OutboxSender(database, away)
    sender.start()
    sender.notify(_queued(database, 2), MAINTENANCE)
    sender.close()
    assert _outbox_size(database) == 2, "the rows stay until a broker has the notifications"
    with pytest.raises(BrokerUnavailable):
        outbox.flush_outbox(database, away)


def test_sender_deletes_what_it_sent_and_no_later_notification(database: Database, broker: Broker) -> None:
    """The job may have been claimed, have failed and be queued again before its first notification is deleted."""
    (job_id,) = _queued(database, 1)
    with database.write() as session:
        outbox.enqueue(session, job_id, MAINTENANCE, utc_now() + timedelta(minutes=1))
    sender = outbox.OutboxSender(database, broker)
    sender.start()
    sender.notify([job_id], MAINTENANCE)
    sender.close()
    assert broker.waiting(MAINTENANCE) == 1
    with database.read() as session:
        (left,) = session.scalars(select(OutboxRow))
    assert left.due_at > utc_now()


def test_one_process_leads_at_a_time(broker: Broker) -> None:
    assert broker.acquire_leadership("test", "a", 5)
    assert broker.acquire_leadership("test", "a", 5)
    assert not broker.acquire_leadership("test", "b", 5)
