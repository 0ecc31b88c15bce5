"""The right to one attempt of a job: taking it, keeping it, and losing it. Writes job rows, as `transitions.py` does.

A claim takes the job of a queue that has been due for longest, interactive ones before bulk but for every fourth time:
so those for which somebody waits overtake a folder, and the folder gets on. Every other claim takes the one with the
earliest deadline, where one of its priority has one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import FromClause, Select, String, Table, bindparam, func, literal_column, select, type_coerce, update
from sqlalchemy.orm import Session

from core.clock import statement_now
from core.database import Database
from core.errors import LeaseLost
from core.jobs.job import Claim, Renewal, Wishes
from core.jobs.queries import QUEUED, RUNNING
from models.base import JSONObject, new_id, utc_now
from models.job import Job, JobPriority, JobState

# Statements on the table itself skip the bookkeeping that the mapped class brings; every job passes here.
_JOBS = cast(Table, Job.__table__)

_BULK_EVERY = 4
"""One claim of so many takes a bulk job where both kinds are due."""


@dataclass(frozen=True)
class Turn:
    """What a claim looks for first: jobs of which priority, and among those of one priority whether it is the ones with
    a deadline or the one that has been due for longest."""

    first: JobPriority = JobPriority.INTERACTIVE
    by_deadline: bool = False


ANY_TURN = Turn()

_IS_CLAIMED = (
    _JOBS.c.id == bindparam("job_id"),
    _JOBS.c.state == RUNNING,
    _JOBS.c.lease_token == bindparam("token"),
)
CLAIMED = update(_JOBS).where(*_IS_CLAIMED)
"""The change of a job by who holds its claim, to be given the values of `identity`."""


def longest_due(priority: str) -> Select[tuple[str]]:
    """The id of the job of one priority that has been due for longest and that nobody else is about to change, to be
    given the values `from_queue` and `priority`, the name of that parameter."""
    # An alias, since a subquery that names the table itself would be taken for the row to be updated. One row is asked
    # for in the statement's text: of a number that is bound a planner takes a tenth of the table to be wanted.
    return _next_of(_JOBS.alias(f"due_{priority}"), priority, "due_at")


def earliest_wanted(priority: str) -> Select[tuple[str]]:
    """The same of the one with the earliest deadline that is still to come: of those that are past none can be kept."""
    jobs = _JOBS.alias(f"wanted_{priority}")
    return _next_of(jobs, priority, "deadline").where(jobs.c.deadline > statement_now())


def _next_of(jobs: FromClause, priority: str, order: str) -> Select[tuple[str]]:
    return (
        select(jobs.c.id)
        .where(
            jobs.c.queue == bindparam("from_queue"),
            jobs.c.priority == bindparam(priority),
            jobs.c.state == QUEUED,
            jobs.c.due_at <= statement_now(),
        )
        .order_by(jobs.c[order])
        .limit(literal_column("1"))
        .with_for_update(skip_locked=True, key_share=True)
    )


_LONGEST_DUE = [longest_due(name).scalar_subquery() for name in ("first", "second")]
_EARLIEST_WANTED = [earliest_wanted(name).scalar_subquery() for name in ("first", "second")]
_FOUND = {
    False: func.coalesce(*_LONGEST_DUE),
    True: func.coalesce(_EARLIEST_WANTED[0], _LONGEST_DUE[0], _EARLIEST_WANTED[1], _LONGEST_DUE[1]),
}

# Built once: putting an expression together costs more than sending it. A later subquery is evaluated only where those
# before it find nothing; each reads one entry of an index, `ix_jobs_due` or `ix_jobs_wanted`, however many jobs wait.
_TAKE = (
    update(_JOBS)
    .where(_JOBS.c.state == QUEUED)
    .values(
        state=JobState.RUNNING,
        attempts=_JOBS.c.attempts + 1,
        worker=bindparam("by_worker"),
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("expires_at"),
        started_at=bindparam("now"),
        progress=0.0,
        stage=None,
        at_work=False,
    )
    .returning(
        _JOBS.c.id,
        type_coerce(_JOBS.c.kind, String),
        _JOBS.c.lease_token,
        _JOBS.c.attempts,
        _JOBS.c.max_attempts,
        _JOBS.c.image_id,
        _JOBS.c.reconstruction_id,
        _JOBS.c.request_id,
        _JOBS.c.is_suspect,
        _JOBS.c.pauses,
        type_coerce(_JOBS.c.priority, String),
        _JOBS.c.owner,
        _JOBS.c.trace_parent,
        _JOBS.c.deadline,
    )
)
_CLAIMS = {by_deadline: _TAKE.where(_JOBS.c.id == found) for by_deadline, found in _FOUND.items()}
_IS_CANCEL_REQUESTED = select(_JOBS.c.cancel_requested).where(*_IS_CLAIMED)
_LOCK = select(_JOBS.c.id).where(*_IS_CLAIMED).with_for_update()
_RENEW = CLAIMED.values(
    lease_expires_at=bindparam("expires_at"),
    stage=bindparam("at_stage"),
    progress=bindparam("fraction"),
    at_work=bindparam("works"),
).returning(_JOBS.c.cancel_requested, type_coerce(_JOBS.c.priority, String), _JOBS.c.deadline)
_RECORD_USAGE = CLAIMED.values(usage=bindparam("used"))


def turn_of(number: int) -> Turn:
    """What the claim of this number, counted by the worker, looks for. Both priorities have turns of both kinds, so
    that neither jobs with deadlines nor those without starve the others."""
    rounds, place = divmod(number, _BULK_EVERY)
    first = JobPriority.BULK if place == _BULK_EVERY - 1 else JobPriority.INTERACTIVE
    return Turn(first, by_deadline=(rounds + place) % 2 == 0)


def claim(database: Database, queue: str, worker: str, lease: timedelta, turn: Turn = ANY_TURN) -> Claim | None:
    """Take the job of the queue whose turn it is, of the other priority where none of the turn's first is due, in the
    name of `worker` (<= 48 characters) and in a transaction of its own. None where no job is due.
    """
    now = utc_now()
    second = JobPriority.BULK if turn.first is JobPriority.INTERACTIVE else JobPriority.INTERACTIVE
    values = {
        "from_queue": queue,
        "first": turn.first,
        "second": second,
        "now": now,
        "by_worker": worker,
        "token": new_id("clm"),
        "expires_at": now + lease,
    }
    rows = database.execute_alone(_CLAIMS[turn.by_deadline], values)
    if not rows:
        return None
    granted = Claim(*rows[0])
    database.publish(*news(granted, JobState.RUNNING))
    return granted


def renew(database: Database, renewals: Iterable[Renewal], lease: timedelta) -> dict[str, Wishes]:
    """Prolong leases and note progress, all in one transaction; returns by job id what is wanted of the job by now.

    A job whose claim is not valid any more is missing in what is returned.
    """
    expires_at = utc_now() + lease
    wishes: dict[str, Wishes] = {}
    with database.write() as session:
        # In one order, as everybody who locks several jobs takes them, so that nobody waits in a circle.
        for renewal in sorted(renewals, key=lambda one: one.claim.job_id):
            progress = {"at_stage": renewal.stage, "fraction": renewal.progress, "works": renewal.at_work}
            values = identity(renewal.claim) | progress | {"expires_at": expires_at}
            row = session.execute(_RENEW, values).one_or_none()
            if row is not None:
                wishes[renewal.claim.job_id] = Wishes(*row)
    return wishes


def is_cancel_requested(database: Database, claim: Claim) -> bool:
    """Whether a cancel request ends the job; raises LeaseLost when the claim is not valid any more."""
    rows = database.execute_alone(_IS_CANCEL_REQUESTED, identity(claim))
    if not rows:
        raise lease_lost(claim)
    return bool(rows[0][0])


def lock(session: Session, claim: Claim) -> None:
    """Lock the job for the rest of the transaction; raises LeaseLost."""
    if session.execute(_LOCK, identity(claim)).one_or_none() is None:
        raise lease_lost(claim)


def record_usage(database: Database, claim: Claim, usage: JSONObject) -> None:
    """Note what a language model's answer cost this job, in a transaction of its own; a lost lease is no error.

    An answer that was bought before (`cached`) replaces no record of an earlier attempt, which may have bought it.
    """
    statement = _RECORD_USAGE.where(_JOBS.c.usage.is_(None)) if usage.get("cached") else _RECORD_USAGE
    database.execute_alone(statement, identity(claim) | {"used": usage})


def identity(claim: Claim) -> dict[str, Any]:
    """The values by which `CLAIMED` knows the job and its claim."""
    return {"job_id": claim.job_id, "token": claim.token}


def lease_lost(claim: Claim) -> LeaseLost:
    """The error of who records something with a claim that is not valid any more."""
    return LeaseLost(f"Job {claim.job_id} was taken back.")


def news(claim: Claim, state: JobState, details: dict[str, Any] | None = None) -> tuple[str, str, dict[str, Any]]:
    """What watchers of the job are told of its new state: job, event and data."""
    return claim.job_id, "state", {"state": state.value, "attempt": claim.attempt} | (details or {})
