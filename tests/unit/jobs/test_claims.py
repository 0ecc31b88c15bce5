"""Whose job is claimed: who waits overtakes bulk work, and bulk work gets on."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from codec.weights.store import WeightsStore
from core.broker import ENCODE, MAINTENANCE
from core.database import Database
from core.jobs import claims, queries, transitions
from core.jobs.claims import Turn
from core.jobs.job import Claim, JobSpec, Renewal
from core.jobs.lease import LeaseKeeper
from core.jobs.retry import PausePolicy, RetryPolicy
from core.settings import DatabaseSettings, WorkerSettings
from models import Job, JobKind, JobPriority, JobState
from models.base import utc_now
from tests.unit.workers.silent import Silent
from workers.context import WorkContext
from workers.runner import Runner
from workers.services import WorkerServices

UNUSED: Any = None
SETTINGS = WorkerSettings()
INTERACTIVE, BULK = JobPriority.INTERACTIVE, JobPriority.BULK

_JOB_SECONDS = 0.1


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    shutil.copy(migrated_file, tmp_path / "misc.db")
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    yield database
    database.close()


def _order(database: Database, priority: JobPriority, count: int = 1, queue: str = MAINTENANCE) -> list[str]:
    with database.write() as session:
        return [transitions.create(session, JobSpec(JobKind.PROBE, queue, priority=priority)) for _ in range(count)]


def _claim(database: Database, first: JobPriority = INTERACTIVE, *, by_deadline: bool = False) -> Claim | None:
    return claims.claim(database, MAINTENANCE, "worker", SETTINGS.lease, Turn(first, by_deadline))


def _order_for(database: Database, seconds: float, priority: JobPriority = INTERACTIVE) -> str:
    """A job that is wanted in so many seconds."""
    deadline = utc_now() + timedelta(seconds=seconds)
    with database.write() as session:
        return transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE, priority=priority, deadline=deadline))


def _states(database: Database) -> Counter[tuple[JobPriority, JobState]]:
    with database.read() as session:
        rows = session.execute(select(Job.priority, Job.state, func.count()).group_by(Job.priority, Job.state))
        return Counter({(priority, state): count for priority, state, count in rows})


def test_every_fourth_claim_looks_for_bulk_jobs_first() -> None:
    turns = [claims.turn_of(number) for number in range(8)]
    assert [turn.first for turn in turns] == [INTERACTIVE, INTERACTIVE, INTERACTIVE, BULK] * 2


def test_both_priorities_have_claims_with_and_without_a_look_at_deadlines() -> None:
    turns = Counter((turn.first, turn.by_deadline) for turn in map(claims.turn_of, range(80)))
    assert turns == {(INTERACTIVE, True): 30, (INTERACTIVE, False): 30, (BULK, True): 10, (BULK, False): 10}


def test_claim_by_deadline_takes_the_earliest_of_its_priority_that_is_still_to_come(database: Database) -> None:
    (plain,) = _order(database, INTERACTIVE)
    past, late, early = (_order_for(database, seconds) for seconds in (-5, 600, 300))
    bulk = _order_for(database, 100, BULK)
    taken = [_claim(database, by_deadline=True) for _ in range(5)]
    assert [claim and claim.job_id for claim in taken] == [early, late, plain, past, bulk]
    assert taken[0] is not None and taken[0].deadline is not None and taken[2] is not None
    assert taken[2].deadline is None


def test_claim_without_a_look_at_deadlines_takes_what_has_been_due_for_longest(database: Database) -> None:
    (plain,) = _order(database, INTERACTIVE)
    time.sleep(0.003)
    wanted = _order_for(database, 60)
    assert [getattr(_claim(database), "job_id", None) for _ in range(2)] == [plain, wanted]


def test_job_that_is_hastened_while_it_runs_is_told_with_its_next_renewal(database: Database) -> None:
    (job_id,) = _order(database, BULK)
    claim = _claim(database)
    assert claim is not None and (claim.priority, claim.deadline) == (BULK, None)
    deadline = utc_now() + timedelta(minutes=5)
    transitions.hasten(database, [job_id], INTERACTIVE, deadline)
    wishes = claims.renew(database, [Renewal(claim, None, 0.5)], SETTINGS.lease)[job_id]
    assert (wishes.cancel_requested, wishes.priority, wishes.deadline) == (False, INTERACTIVE, deadline)


def test_job_is_hastened_and_never_put_back(database: Database) -> None:
    job_id = _order_for(database, 60)
    transitions.hasten(database, [job_id], BULK, utc_now() + timedelta(seconds=600))
    claim = _claim(database)
    assert claim is not None and claim.priority == INTERACTIVE and claim.deadline is not None
    assert claim.deadline < utc_now() + timedelta(seconds=61)


def test_interactive_job_overtakes_bulk_jobs_that_were_there_before(database: Database) -> None:
    _order(database, BULK, 3)
    (urgent,) = _order(database, INTERACTIVE)
    claim = _claim(database)
    assert claim is not None
    assert (claim.job_id, claim.priority, claim.attempt) == (urgent, INTERACTIVE, 1)


def test_claim_takes_the_other_priority_where_none_of_the_first_is_due(database: Database) -> None:
    (bulk,) = _order(database, BULK)
    assert getattr(_claim(database), "job_id", None) == bulk
    (urgent,) = _order(database, INTERACTIVE)
    assert getattr(_claim(database, BULK), "job_id", None) == urgent
    assert _claim(database) is None


def test_claim_takes_no_job_of_another_queue(database: Database) -> None:
    _order(database, INTERACTIVE, queue=ENCODE)
    assert _claim(database) is None


def test_jobs_of_one_priority_are_claimed_in_the_order_in_which_they_became_due(database: Database) -> None:
    ordered = []
    for _ in range(3):
        ordered += _order(database, BULK)
        time.sleep(0.003)
    assert [getattr(_claim(database), "job_id", None) for _ in ordered] == ordered


def test_priority_is_kept_through_retries_and_pauses(database: Database) -> None:
    _order(database, BULK)
    now = SETTINGS.retry_delay * 0
    for again in (
        lambda session, claim: transitions.retry(session, claim, RetryPolicy(now), "code", "message"),
        lambda session, claim: transitions.pause(session, claim, PausePolicy(now, SETTINGS.patience), "code", "m"),
        lambda session, claim: transitions.requeue(session, claim, count_attempt=False),
    ):
        claim = _claim(database)
        assert claim is not None and claim.priority == BULK
        with database.write() as session:
            again(session, claim)
            transitions.wake(session, [claim.job_id])
    assert _states(database) == {(BULK, JobState.QUEUED): 1}


def test_queue_position_of_an_interactive_job_counts_no_bulk_job(database: Database) -> None:
    (first_bulk, *_), (urgent,) = _order(database, BULK, 3), _order(database, INTERACTIVE)
    with database.read() as session:
        assert queries.queue_position(session, queries.get(session, urgent)) == 0
        position = queries.queue_position(session, queries.get(session, first_bulk))
        assert position is not None and 1 <= position <= 3
        assert queries.next_position(session, MAINTENANCE, INTERACTIVE) == 1
        assert queries.next_position(session, MAINTENANCE, BULK) == 4
        assert queries.count_due_by_priority(session) == {(MAINTENANCE, BULK): 3, (MAINTENANCE, INTERACTIVE): 1}


class Crew:
    """Threads of one worker whose jobs take `_JOB_SECONDS`, woken as often as there are jobs."""

    def __init__(self, database: Database, folder: Path) -> None:
        silent: Any = Silent()
        services = WorkerServices(SETTINGS, database, UNUSED, silent, silent, WeightsStore(folder), UNUSED)
        handlers: Any = self
        self._runner = Runner("worker", handlers, services, LeaseKeeper(database, SETTINGS.lease))
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(2)]

    def of(self, _kind: str) -> Callable[[WorkContext], None]:
        return lambda _context: time.sleep(_JOB_SECONDS)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._is_over.is_set():
            self._runner.run(MAINTENANCE)


@pytest.fixture
def crew(database: Database, tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(database, tmp_path)
    yield crew
    crew.stop()


def test_interactive_job_behind_five_hundred_bulk_jobs_starts_within_two_job_lengths(
    database: Database, crew: Crew
) -> None:
    _order(database, BULK, 500)
    crew.start()
    waits, lengths = [], []
    for _ in range(5):
        time.sleep(3 * _JOB_SECONDS)
        (job_id,) = _order(database, INTERACTIVE)
        with database.read() as session:
            job = queries.get(session, job_id)
            while job.finished_at is None:
                time.sleep(_JOB_SECONDS / 10)
                session.rollback()
                session.refresh(job)
        assert job.started_at is not None
        waits.append((job.started_at - job.created_at).total_seconds())
        lengths.append((job.finished_at - job.started_at).total_seconds())
    assert max(waits) <= 2 * max(lengths), (waits, lengths)
    assert _states(database)[BULK, JobState.QUEUED] > 400


def test_bulk_jobs_get_a_fourth_of_the_turns_beside_interactive_ones_without_end(
    database: Database, crew: Crew
) -> None:
    _order(database, BULK, 100)
    _order(database, INTERACTIVE, 100)
    crew.start()
    while (states := _states(database))[INTERACTIVE, JobState.SUCCEEDED] < 18:
        time.sleep(_JOB_SECONDS)
    assert 4 <= states[BULK, JobState.SUCCEEDED] <= 9
