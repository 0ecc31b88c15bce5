"""The job state machine on SQLite and PostgreSQL."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from core.broker import MAINTENANCE
from core.database import Database
from core.errors import LeaseLost, NotFound
from core.jobs import queries, transitions
from core.jobs.job import Claim, JobSpec, Renewal
from models import Job, JobKind, JobState, OutboxRow
from models.base import utc_now

LEASE = timedelta(seconds=30)


def _queued(database: Database) -> str:
    with database.write() as session:
        return transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE))


def _claimed(database: Database, job_id: str) -> Claim:
    claim = transitions.claim(database, job_id, "worker", LEASE)
    assert claim is not None
    return claim


def _state(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return queries.get(session, job_id)


def test_new_job_has_its_notification_enqueued_in_the_same_transaction(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE))
        raise RuntimeError("the request failed")
    with database.read() as session:
        assert session.scalar(select(func.count(Job.id))) == 0
        assert session.scalar(select(func.count(OutboxRow.id))) == 0
    job_id = _queued(database)
    with database.read() as session:
        assert session.scalars(select(OutboxRow.job_id)).all() == [job_id]


def test_eight_workers_that_claim_at_once_get_the_job_once(database: Database) -> None:
    job_id = _queued(database)
    claims: list[Claim | None] = []
    start = threading.Barrier(8)

    def _claim() -> None:
        start.wait()
        claims.append(transitions.claim(database, job_id, "worker", LEASE))

    threads = [threading.Thread(target=_claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 8
    assert sum(claim is not None for claim in claims) == 1
    assert _state(database, job_id).attempts == 1


def test_claim_that_was_taken_back_can_record_nothing(database: Database) -> None:
    job_id = _queued(database)
    first = _claimed(database, job_id)
    with database.write() as session:
        transitions.requeue(session, first, delay=timedelta(0), code=None, message=None, count_attempt=True)
    second = _claimed(database, job_id)
    assert second.attempt == 2
    for write in (
        lambda session: transitions.succeed(session, first, {}),
        lambda session: transitions.fail(session, first, "code", "message"),
        lambda session: transitions.cancel_running(session, first),
    ):
        with pytest.raises(LeaseLost), database.write() as session:
            write(session)
    renewals = [Renewal(claim, "stage", 0.5) for claim in (first, second)]
    assert transitions.renew(database, renewals[:1], LEASE) == {}
    assert transitions.renew(database, renewals, LEASE) == {job_id: False}
    assert (_state(database, job_id).stage, _state(database, job_id).progress) == ("stage", 0.5)
    with pytest.raises(LeaseLost):
        transitions.succeed_alone(database, first, {})
    with database.write() as session:
        transitions.succeed(session, second, {"total": 1.0})
    job = _state(database, job_id)
    assert (job.state, job.progress, job.seconds) == (JobState.SUCCEEDED, 1.0, {"total": 1.0})


def test_delayed_job_is_not_to_be_had_before_it_is_due(database: Database) -> None:
    job_id = _queued(database)
    claim = _claimed(database, job_id)
    with database.write() as session:
        transitions.requeue(session, claim, delay=timedelta(hours=1), code="x", message="y", count_attempt=True)
    assert transitions.claim(database, job_id, "worker", LEASE) is None
    with database.read() as session:
        assert queries.count_due(session, MAINTENANCE) == 0
        assert queries.count_open(session) == {}
    assert _state(database, job_id).error_code == "x"


def test_handed_over_attempt_is_not_counted(database: Database) -> None:
    job_id = _queued(database)
    claim = _claimed(database, job_id)
    with database.write() as session:
        transitions.requeue(session, claim, delay=timedelta(0), code=None, message=None, count_attempt=False)
    assert _state(database, job_id).attempts == 0


def test_cancelling_a_waiting_job_ends_it_and_a_running_one_is_told(database: Database) -> None:
    waiting, running = _queued(database), _queued(database)
    claim = _claimed(database, running)
    with database.write() as session:
        assert transitions.cancel(session, waiting).state == JobState.CANCELLED
        assert transitions.cancel(session, running).state == JobState.RUNNING
    assert transitions.renew(database, [Renewal(claim, "s", 0.1)], LEASE) == {running: True}
    with database.write() as session:
        transitions.cancel_running(session, claim)
    with database.write() as session:
        ended = transitions.cancel(session, running)
        assert (ended.state, ended.finished_at is not None) == (JobState.CANCELLED, True)
    assert transitions.claim(database, waiting, "worker", LEASE) is None


def test_silent_worker_is_found_after_its_lease(database: Database) -> None:
    job_id = _queued(database)
    claim = _claimed(database, job_id)
    with database.write() as session:
        assert queries.expired(session, 10) == []
        session.execute(update(Job).values(lease_expires_at=utc_now() - timedelta(seconds=1)))
    with database.read() as session:
        assert [found.token for found in queries.expired(session, 10)] == [claim.token]


def test_queue_position_counts_those_that_were_there_before(database: Database) -> None:
    ids = [_queued(database) for _ in range(4)]
    _claimed(database, ids[0])
    with database.read() as session:
        positions = [queries.queue_position(session, queries.get(session, job_id)) for job_id in ids]
        newest_first = [job.id for job in queries.list_jobs(session, limit=2)]
    # Ids of the same millisecond have no order among themselves, so only the whole set is certain.
    assert positions[0] is None
    assert sorted(position for position in positions if position is not None) == [0, 1, 2]
    assert len(newest_first) == 2


def test_unknown_job_is_not_found(database: Database) -> None:
    with database.read() as session, pytest.raises(NotFound, match="job_nothing"):
        queries.get(session, "job_nothing")


def test_cancel_survives_a_job_that_goes_back_to_the_queue(database: Database) -> None:
    job_id = _queued(database)
    claim = _claimed(database, job_id)
    with database.write() as session:
        transitions.cancel(session, job_id)
    with database.write() as session:
        transitions.requeue(session, claim, delay=timedelta(0), code=None, message=None, count_attempt=False)
    assert _state(database, job_id).state == JobState.CANCELLED


def test_job_of_a_machine_whose_clock_is_ahead_is_claimed(database: Database) -> None:
    job_id = _queued(database)
    with database.write() as session:
        session.execute(update(Job).values(due_at=utc_now() + timedelta(seconds=3)))
    assert transitions.claim(database, job_id, "worker", LEASE) is not None


def test_job_of_a_kind_that_this_version_does_not_know_can_be_claimed_and_ended(database: Database) -> None:
    job_id = _queued(database)
    with database.write() as session:
        session.execute(text("UPDATE jobs SET kind = 'transcribe'"))
    claim = transitions.claim(database, job_id, "worker", timedelta(seconds=-1))
    assert claim is not None and claim.kind == "transcribe"
    with database.write() as session:
        assert [expired.kind for expired in queries.expired(session, 10)] == ["transcribe"]
        transitions.fail(session, claim, "kind_unknown", "message")
        assert session.scalar(text("SELECT state FROM jobs")) == "failed"


def test_news_of_a_transition_is_published_after_its_commit_and_only_then(database: Database) -> None:
    news: list[tuple[str, Any]] = []
    database.publish = lambda job_id, _name, data: news.append((job_id, data["state"]))
    job_id = _queued(database)
    claim = _claimed(database, job_id)
    with database.write() as session:
        transitions.requeue(session, claim, count_attempt=True)
        assert news == [(job_id, "running")]
    with pytest.raises(RuntimeError), database.write() as session:
        transitions.cancel(session, job_id)
        raise RuntimeError("the request failed")
    assert news == [(job_id, "running"), (job_id, "queued")]
    with database.write() as session:
        transitions.cancel(session, job_id)
    with database.write() as session:
        transitions.cancel(session, job_id)
    assert news[2:] == [(job_id, "cancelled")], "it was cancelled once"
