"""The job state machine on SQLite and PostgreSQL."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from core.broker import MAINTENANCE
from core.database import Database
from core.errors import LeaseLost, NotFound
from core.jobs import claims, queries, transitions
from core.jobs.job import Claim, HeldLease, JobSpec, Renewal, Wishes
from core.jobs.lease import LeaseKeeper
from core.jobs.retry import PausePolicy, RetryPolicy
from core.owners.view import EVERYTHING
from models import Job, JobKind, JobState, OutboxRow
from models.base import utc_now
from tests.claims import claim_job

LEASE = timedelta(seconds=30)


def _queued(database: Database) -> str:
    with database.write() as session:
        return transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE))


def _claimed(database: Database, job_id: str) -> Claim:
    claim = claim_job(database, job_id, "worker", LEASE)
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
        claims.append(claim_job(database, job_id, "worker", LEASE))

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
    assert claims.renew(database, renewals[:1], LEASE) == {}
    assert claims.renew(database, renewals, LEASE) == {job_id: Wishes(False)}
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
    assert claim_job(database, job_id, "worker", LEASE) is None
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
    assert claims.renew(database, [Renewal(claim, "s", 0.1)], LEASE) == {running: Wishes(True)}
    with database.write() as session:
        transitions.cancel_running(session, claim)
    with database.write() as session:
        ended = transitions.cancel(session, running)
        assert (ended.state, ended.finished_at is not None) == (JobState.CANCELLED, True)
    assert claim_job(database, waiting, "worker", LEASE) is None


def _held(database: Database) -> list[HeldLease]:
    with database.read() as session:
        return queries.held_leases(session, 10)


def test_renewal_is_seen_as_such_and_says_whether_the_job_is_at_work(database: Database) -> None:
    claim = _claimed(database, _queued(database))
    (first,) = _held(database)
    assert (first.claim, first.at_work) == (claim, False)
    claims.renew(database, [Renewal(claim, "s", 0.1, at_work=True)], LEASE)
    (second,) = _held(database)
    assert (second.renewed != first.renewed, second.at_work) == (True, True)
    with database.write() as session:
        transitions.requeue(session, claim, count_attempt=False)
    assert _held(database) == []
    _claimed(database, claim.job_id)
    assert not _held(database)[0].at_work, "the next attempt begins by waiting"


def test_suspect_is_not_at_work_any_more_when_the_next_job_begins(database: Database) -> None:
    keeper = LeaseKeeper(database, LEASE)
    jobs = [keeper.hold(_claimed(database, _queued(database))) for _ in range(2)]
    suspect_id = _queued(database)
    _take_back(database, _claimed(database, suspect_id), at_work=True)
    suspect = keeper.hold(_claimed(database, suspect_id))
    assert suspect.claim.is_suspect

    def _at_work() -> set[str]:
        return {held.claim.job_id for held in _held(database) if held.at_work}

    with keeper.at_work(jobs[0]):
        assert _at_work() == {jobs[0].claim.job_id}
    assert _at_work() == {jobs[0].claim.job_id}, "for at most a second, which saves a statement"
    with keeper.at_work(suspect):
        assert _at_work() == {suspect_id}
    assert _at_work() == set()


def _take_back(database: Database, claim: Claim, *, at_work: bool) -> bool:
    with database.write() as session:
        policy = RetryPolicy(timedelta(seconds=2))
        return transitions.take_back(session, claim, policy, at_work=at_work, code="worker_lost")


def test_worker_that_dies_while_a_job_waits_in_it_counts_nothing(database: Database) -> None:
    job_id = _queued(database)
    for _ in range(5):
        assert _take_back(database, _claimed(database, job_id), at_work=False)
        job = _state(database, job_id)
        assert (job.state, job.attempts, job.is_suspect) == (JobState.QUEUED, 0, False)


def test_job_that_waits_in_every_worker_that_dies_becomes_a_suspect_after_ten(database: Database) -> None:
    job_id = _queued(database)
    for _ in range(11):
        assert _take_back(database, _claimed(database, job_id), at_work=False)
    assert (_state(database, job_id).is_suspect, _state(database, job_id).attempts) == (True, 0)


def test_job_at_work_becomes_a_suspect_and_is_parked_after_it_killed_three_workers_alone(database: Database) -> None:
    job_id = _queued(database)
    seen, waits = [], []
    for _ in range(4):
        waits.append((_state(database, job_id).due_at - utc_now()).total_seconds())
        with database.write() as session:
            transitions.wake(session, [job_id])
        claim = _claimed(database, job_id)
        is_tried_again = _take_back(database, claim, at_work=True)
        job = _state(database, job_id)
        seen.append((claim.is_suspect, is_tried_again, job.state, job.attempts))
    assert seen == [
        (False, True, JobState.QUEUED, 0),
        (True, True, JobState.QUEUED, 1),
        (True, True, JobState.QUEUED, 2),
        (True, False, JobState.FAILED, 3),
    ]
    assert waits[1] <= 0 and 1.5 < waits[2] <= 2.4 and 3.5 < waits[3] <= 4.8
    assert _state(database, job_id).error_code == "worker_lost"


PAUSES = PausePolicy(timedelta(seconds=2), patience=timedelta(hours=24))


def _pause(database: Database, job_id: str, code: str = "storage_unavailable", policy: PausePolicy = PAUSES) -> Job:
    with database.write() as session:
        transitions.wake(session, [job_id])
    claim = _claimed(database, job_id)
    with database.write() as session:
        transitions.pause(session, claim, policy, code, "away")
    return _state(database, job_id)


def test_fault_of_the_surroundings_is_no_attempt_and_its_pauses_grow(database: Database) -> None:
    job_id = _queued(database)
    pauses = []
    for _ in range(20):
        job = _pause(database, job_id)
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        pauses.append((job.due_at - utc_now()).total_seconds())
    assert 0.5 < pauses[0] <= 2 and 8 < pauses[3] <= 16
    assert all(149 < pause <= 300 for pause in pauses[8:])
    assert (_state(database, job_id).pauses, _state(database, job_id).error_code) == (20, "storage_unavailable")


def test_job_fails_once_the_same_fault_was_met_for_as_long_as_the_patience(database: Database) -> None:
    job_id = _queued(database)
    assert _pause(database, job_id).state == JobState.QUEUED
    with database.write() as session:
        session.execute(update(Job).values(paused_since=utc_now() - timedelta(hours=25)))
    other = _pause(database, job_id, "database_unavailable")
    assert other.state == JobState.QUEUED, "another fault has a patience of its own"
    with database.write() as session:
        session.execute(update(Job).values(paused_since=utc_now() - timedelta(hours=23)))
    assert _pause(database, job_id, "database_unavailable").state == JobState.QUEUED
    with database.write() as session:
        session.execute(update(Job).values(paused_since=utc_now() - timedelta(hours=25)))
    ended = _pause(database, job_id, "database_unavailable")
    assert (ended.state, ended.error_code) == (JobState.FAILED, "database_unavailable")


def test_paused_jobs_of_a_dependency_are_made_due_when_it_is_back(database: Database) -> None:
    paused, waits = _queued(database), _queued(database)
    for _ in range(9):
        _pause(database, paused)
    with database.write() as session:
        found = queries.paused(session, ["storage_unavailable", "storage_denied"], 10)
        assert (found, queries.paused(session, ["database_unavailable"], 10)) == ([paused], [])
        transitions.wake(session, found)
    assert claim_job(database, paused, "worker", LEASE) is not None
    assert _state(database, waits).state == JobState.QUEUED


def test_own_failure_after_pauses_counts_as_the_first_attempt(database: Database) -> None:
    job_id = _queued(database)
    _pause(database, job_id)
    with database.write() as session:
        transitions.wake(session, [job_id])
    claim = _claimed(database, job_id)
    assert (claim.attempt, claim.pauses) == (1, 1)
    with database.write() as session:
        transitions.retry(session, claim, RetryPolicy(timedelta(0)), "internal_error", "message")
    job = _state(database, job_id)
    assert (job.attempts, job.pauses, job.paused_since) == (1, 0, None)


def test_job_that_a_clock_two_hours_ahead_put_off_is_found(database: Database) -> None:
    put_off, waits_for_batch, paused = _queued(database), _queued(database), _queued(database)
    for job_id, delay, stage in (
        (put_off, timedelta(hours=2), None),
        (waits_for_batch, timedelta(hours=20), "describe"),
        (paused, timedelta(minutes=5), None),
    ):
        claim = _claimed(database, job_id)
        with database.write() as session:
            transitions.requeue(session, claim, delay=delay, count_attempt=False, stage=stage)
    with database.read() as session:
        assert queries.misdated(session, timedelta(minutes=8), 10) == [put_off]


def test_clock_of_a_worker_has_no_part_in_what_is_due(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for hours in (2, -2):
        for module in (claims, transitions):
            monkeypatch.setattr(module, "utc_now", lambda hours=hours: utc_now() + timedelta(hours=hours))
        job_id = _queued(database)
        claim = _claimed(database, job_id)
        with database.write() as session:
            transitions.requeue(session, claim, delay=timedelta(minutes=1), count_attempt=False)
        assert claim_job(database, job_id, "worker", LEASE) is None
        with database.write() as session:
            transitions.wake(session, [job_id])
        with database.read() as session:
            assert queries.count_due(session, MAINTENANCE) == 1
        _claimed(database, job_id)


def test_queue_position_counts_those_that_were_there_before(database: Database) -> None:
    ids = [_queued(database) for _ in range(4)]
    _claimed(database, ids[0])
    with database.read() as session:
        positions = [queries.queue_position(session, queries.get(session, job_id)) for job_id in ids]
        newest_first = [job.id for job in queries.list_jobs(session, EVERYTHING, limit=2)]
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


def test_job_of_a_kind_that_this_version_does_not_know_can_be_claimed_and_ended(database: Database) -> None:
    job_id = _queued(database)
    with database.write() as session:
        session.execute(text("UPDATE jobs SET kind = 'transcribe'"))
    claim = claim_job(database, job_id, "worker", timedelta(seconds=-1))
    assert claim is not None and claim.kind == "transcribe"
    with database.write() as session:
        assert [lease.claim.kind for lease in queries.held_leases(session, 10)] == ["transcribe"]
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
