"""Lost notifications, unsent notifications and dead workers, on both databases and a real Redis."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.broker import MAINTENANCE, Broker, connect_redis
from core.database import Database
from core.errors import BrokerUnavailable
from core.jobs import claims, outbox, queries, transitions
from core.jobs.job import Claim, JobSpec, Renewal
from core.jobs.reconciler import Reconciler
from core.settings import BrokerSettings, WorkerSettings
from core.storage.local import LocalStorage
from models import Job, JobKind, JobState, OutboxRow
from models.base import utc_now
from tests.claims import claim_job

LONG_AGO = timedelta(minutes=5)


LEASE_SECONDS = 15.0


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reconciler(database: Database, broker: Broker, tmp_path: Path, clock: Clock) -> Reconciler:
    return Reconciler(database, broker, LocalStorage(tmp_path / "objects"), WorkerSettings(), clock)


def _watch(reconciler: Reconciler, clock: Clock, seconds: float) -> None:
    """Look at the leases each second."""
    for _ in range(round(seconds)):
        clock.now += 1
        reconciler.watch_leases()


def _state(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return queries.get(session, job_id)


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


def test_job_of_a_dead_worker_is_queued_again_a_second_after_its_lease(
    database: Database, broker: Broker, reconciler: Reconciler, clock: Clock
) -> None:
    (job_id,) = _queued(database, 1)
    outbox.flush_outbox(database, broker)
    assert claim_job(database, job_id, "dead", timedelta(seconds=LEASE_SECONDS)) is not None
    _watch(reconciler, clock, LEASE_SECONDS + 1)
    assert _state(database, job_id).state == JobState.RUNNING
    _watch(reconciler, clock, 1)
    job = _state(database, job_id)
    assert (job.state, job.error_code, job.attempts) == (JobState.QUEUED, "worker_lost", 0)
    assert broker.waiting(MAINTENANCE) == 2


@pytest.mark.parametrize("hours", [2, -2])
def test_worker_whose_clock_jumps_keeps_its_jobs_while_it_lives_and_loses_them_when_it_dies(
    database: Database, reconciler: Reconciler, clock: Clock, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    (job_id,) = _queued(database, 1)
    claim = claim_job(database, job_id, "worker", timedelta(seconds=LEASE_SECONDS))
    assert claim is not None
    for module in (claims, transitions):
        monkeypatch.setattr(module, "utc_now", lambda: utc_now() + timedelta(hours=hours))
    for _ in range(40):
        claims.renew(database, [Renewal(claim, None, 0.5)], timedelta(seconds=LEASE_SECONDS))
        _watch(reconciler, clock, 1)
    assert _state(database, job_id).state == JobState.RUNNING
    monkeypatch.undo()
    _watch(reconciler, clock, LEASE_SECONDS + 2)
    assert _state(database, job_id).state == JobState.QUEUED


def test_leases_get_time_to_be_renewed_after_the_database_was_away(
    database: Database, reconciler: Reconciler, clock: Clock
) -> None:
    (job_id,) = _queued(database, 1)
    assert claim_job(database, job_id, "worker", timedelta(seconds=LEASE_SECONDS)) is not None
    _watch(reconciler, clock, 5)
    clock.now += 300
    _watch(reconciler, clock, 5)
    assert _state(database, job_id).state == JobState.RUNNING
    _watch(reconciler, clock, 2)
    assert _state(database, job_id).state == JobState.QUEUED


def test_job_that_a_clock_two_hours_ahead_put_off_becomes_due(
    database: Database, broker: Broker, reconciler: Reconciler
) -> None:
    (job_id,) = _queued(database, 1)
    with database.write() as session:
        session.execute(
            update(Job).values(due_at=utc_now() + timedelta(hours=2), woken_at=utc_now() + timedelta(hours=2))
        )
        session.execute(update(OutboxRow).values(due_at=utc_now() + timedelta(hours=2)))
    reconciler.make_pass()
    assert claim_job(database, job_id, "worker", timedelta(seconds=LEASE_SECONDS)) is not None


def test_job_that_cannot_be_taken_back_holds_up_no_other(
    database: Database, reconciler: Reconciler, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = _queued(database, 2)
    for job_id in (bad, good):
        assert claim_job(database, job_id, "dead", timedelta(seconds=LEASE_SECONDS)) is not None
    take_back = transitions.take_back

    def _stumble(session: Session, claim: Claim, *policy: Any, **rest: Any) -> bool:
        if claim.job_id == bad:
            raise ValueError("nobody foresaw this row")
        return take_back(session, claim, *policy, **rest)

    monkeypatch.setattr(transitions, "take_back", _stumble)
    _watch(reconciler, clock, LEASE_SECONDS + 2)
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
        outbox.enqueue(session, job_id, MAINTENANCE, timedelta(minutes=1))
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
