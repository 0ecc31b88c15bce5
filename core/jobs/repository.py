"""The job state machine: every transition is one guarded UPDATE, so that it happens once whoever tries.

queued --claim--> running --succeed / fail / cancel--> final
   ^                 |
   +---- put_back ---+      (retry, hand-over at shutdown, expired lease)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, and_, bindparam, case, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from core.database import Database
from core.errors import LeaseLost, NotFound
from core.jobs.outbox import promise
from models.base import JSONObject, new_id, utc_now
from models.job import Job, JobKind, JobState

# Statements on the table itself skip the bookkeeping that the mapped class brings; every job passes here three times.
_JOBS = cast(Table, Job.__table__)

# Written into the statement as it is, so that the planner can see that the partial index of open jobs serves.
_QUEUED = literal(JobState.QUEUED, Job.state.type, literal_execute=True)
_RUNNING = literal(JobState.RUNNING, Job.state.type, literal_execute=True)


_CLOCK_TOLERANCE = timedelta(seconds=5)
"""A job made on a machine whose clock is a little ahead must not be refused by the worker that it wakes."""

# Built once: putting an expression together costs more than sending it, and every job passes through these.
_INSERT = insert(_JOBS).values(
    {
        column: bindparam(column)
        for column in (
            "id",
            "kind",
            "queue",
            "image_id",
            "reconstruction_id",
            "batch_id",
            "request_id",
            "max_attempts",
            "created_at",
            "due_at",
            "woken_at",
        )
    }
    | {"state": JobState.QUEUED, "attempts": 0, "cancel_requested": False, "progress": 0.0}
)
_CLAIM = (
    update(_JOBS)
    .where(_JOBS.c.id == bindparam("job_id"), _JOBS.c.state == _QUEUED, _JOBS.c.due_at <= bindparam("due_before"))
    .values(
        state=JobState.RUNNING,
        attempts=_JOBS.c.attempts + 1,
        worker=bindparam("by_worker"),
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("expires_at"),
        started_at=bindparam("now"),
        progress=0.0,
        stage=None,
    )
    .returning(
        _JOBS.c.kind,
        _JOBS.c.attempts,
        _JOBS.c.max_attempts,
        _JOBS.c.image_id,
        _JOBS.c.reconstruction_id,
        _JOBS.c.request_id,
    )
)
_HELD = update(_JOBS).where(
    _JOBS.c.id == bindparam("job_id"), _JOBS.c.state == _RUNNING, _JOBS.c.lease_token == bindparam("token")
)
_LOOK = select(_JOBS.c.cancel_requested).where(
    _JOBS.c.id == bindparam("job_id"), _JOBS.c.state == _RUNNING, _JOBS.c.lease_token == bindparam("token")
)
_RENEW = _HELD.values(
    lease_expires_at=bindparam("expires_at"), stage=bindparam("at_stage"), progress=bindparam("fraction")
).returning(_JOBS.c.cancel_requested)
_SUCCEED = _HELD.values(
    state=JobState.SUCCEEDED,
    finished_at=bindparam("now"),
    lease_token=None,
    lease_expires_at=None,
    progress=1.0,
    stage=None,
    seconds=bindparam("stage_seconds"),
).returning(_JOBS.c.id)

_RECORD_USAGE = _HELD.values(usage=bindparam("used"))


@dataclass(frozen=True)
class Claim:
    """The right to do one attempt of a job. Whoever holds an older token can record nothing."""

    job_id: str
    kind: JobKind
    token: str
    attempt: int
    max_attempts: int
    image_id: str | None
    reconstruction_id: str | None
    request_id: str | None

    @property
    def is_last_attempt(self) -> bool:
        """True when a failure of this attempt is final."""
        return self.attempt >= self.max_attempts


@dataclass(frozen=True)
class Renewal:
    """A claim that is to last on, and how far its job is."""

    held: Claim
    stage: str | None
    progress: float


def create(
    session: Session,
    kind: JobKind,
    queue: str,
    *,
    max_attempts: int = 3,
    image_id: str | None = None,
    reconstruction_id: str | None = None,
    batch_id: str | None = None,
    request_id: str | None = None,
) -> str:
    """Insert a queued job and promise its wake-up, in the caller's transaction; returns the job's id."""
    job_id = new_id("job")
    now = utc_now()
    values = {
        "id": job_id,
        "kind": kind,
        "queue": queue,
        "image_id": image_id,
        "reconstruction_id": reconstruction_id,
        "batch_id": batch_id,
        "request_id": request_id,
        "max_attempts": max_attempts,
        "created_at": now,
        "due_at": now,
        "woken_at": now,
    }
    session.execute(_INSERT, values)
    promise(session, job_id, queue, now)
    return job_id


def get(session: Session, job_id: str) -> Job:
    """The job; raises NotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return job


def list_jobs(
    session: Session,
    *,
    limit: int,
    before: str | None = None,
    state: JobState | None = None,
    kind: JobKind | None = None,
    image_id: str | None = None,
    batch_id: str | None = None,
) -> list[Job]:
    """Newest first; `before` is the id that the last page ended with."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    if state is not None:
        query = query.where(Job.state == state)
    if kind is not None:
        query = query.where(Job.kind == kind)
    if image_id is not None:
        query = query.where(Job.image_id == image_id)
    if batch_id is not None:
        query = query.where(Job.batch_id == batch_id)
    return list(session.scalars(query))


def queue_position(session: Session, job: Job) -> int | None:
    """How many jobs of the same queue were there before this one and still wait; None when it does not wait."""
    if job.state != JobState.QUEUED:
        return None
    # Jobs that were put off are ahead of nobody.
    ahead = select(func.count()).where(
        Job.queue == job.queue, Job.state == _QUEUED, Job.id < job.id, Job.due_at <= utc_now()
    )
    return session.scalar(ahead) or 0


def claim(database: Database, job_id: str, worker: str, lease: timedelta) -> Claim | None:
    """Take a queued job that is due, in the name of `worker` (<= 48 characters), in a transaction of its own.

    None when somebody else has it, it has ended, or it is not due.
    """
    now = utc_now()
    token = new_id("clm")
    values = {
        "job_id": job_id,
        "now": now,
        "due_before": now + _CLOCK_TOLERANCE,
        "by_worker": worker,
        "token": token,
        "expires_at": now + lease,
    }
    rows = database.execute_alone(_CLAIM, values)
    if not rows:
        return None
    kind, attempts, max_attempts, image_id, reconstruction_id, request_id = rows[0]
    return Claim(job_id, kind, token, attempts, max_attempts, image_id, reconstruction_id, request_id)


def renew(database: Database, renewals: Iterable[Renewal], lease: timedelta) -> dict[str, bool]:
    """Prolong leases and note progress, all in one transaction; returns by job id whether the job has to stop.

    A job that is missing in the answer is held by its claim no more.
    """
    values = {"expires_at": utc_now() + lease}
    answers: dict[str, bool] = {}
    with database.write() as session:
        # In one order, as everybody who locks several jobs takes them, so that nobody waits in a circle.
        for renewal in sorted(renewals, key=lambda one: one.held.job_id):
            noted = {"at_stage": renewal.stage, "fraction": renewal.progress}
            row = session.execute(_RENEW, _name(renewal.held) | noted | values).one_or_none()
            if row is not None:
                answers[renewal.held.job_id] = bool(row[0])
    return answers


def is_cancel_requested(database: Database, held: Claim) -> bool:
    """Whether somebody asked for the job to stop; raises LeaseLost when the claim is not valid any more."""
    rows = database.execute_alone(_LOOK, _name(held))
    if not rows:
        raise LeaseLost(f"Job {held.job_id} was taken back.")
    return bool(rows[0][0])


def record_usage(database: Database, held: Claim, usage: JSONObject) -> None:
    """Note what a language model's answer cost this job, in a transaction of its own; says nothing of a lost lease.

    An answer that was bought before (`cached`) replaces no record of an earlier attempt, which may have bought it.
    """
    statement = _RECORD_USAGE.where(_JOBS.c.usage.is_(None)) if usage.get("cached") else _RECORD_USAGE
    database.execute_alone(statement, _name(held) | {"used": usage})


def usage_of(session: Session, held: Claim) -> JSONObject | None:
    """What `record_usage` noted, in this attempt or an earlier one."""
    usage: JSONObject | None = session.scalar(select(_JOBS.c.usage).where(_JOBS.c.id == held.job_id))
    return usage


def succeed(session: Session, held: Claim, seconds: dict[str, float]) -> None:
    """End the job well, in the transaction that records its result; raises LeaseLost."""
    if session.execute(_SUCCEED, _well_ended(held, seconds)).one_or_none() is None:
        raise LeaseLost(f"Job {held.job_id} was taken back.")


def succeed_alone(database: Database, held: Claim, seconds: dict[str, float]) -> None:
    """End a job well that has no result to record; raises LeaseLost."""
    if not database.execute_alone(_SUCCEED, _well_ended(held, seconds)):
        raise LeaseLost(f"Job {held.job_id} was taken back.")


def fail(session: Session, held: Claim, code: str, message: str) -> None:
    """End the job with an error; raises LeaseLost."""
    _end(session, held, JobState.FAILED, error_code=code, error_message=message[:1000])


def cancel_running(session: Session, held: Claim) -> None:
    """End the job because somebody asked for it; raises LeaseLost."""
    _end(session, held, JobState.CANCELLED)


def put_back(
    session: Session, held: Claim, *, delay: timedelta, code: str | None, message: str | None, count_attempt: bool
) -> bool:
    """Queue the job for another attempt after `delay`; an attempt that was not its own fault is not counted.

    Returns whether somebody has asked for it to stop (see `records.put_back`); raises LeaseLost.
    """
    due_at = utc_now() + delay
    row = session.execute(
        _HELD.values(
            state=JobState.QUEUED,
            attempts=_JOBS.c.attempts if count_attempt else _JOBS.c.attempts - 1,
            lease_token=None,
            lease_expires_at=None,
            due_at=due_at,
            woken_at=due_at,
            error_code=code,
            error_message=None if message is None else message[:1000],
        ).returning(_JOBS.c.queue, _JOBS.c.cancel_requested),
        _name(held),
    ).one_or_none()
    if row is None:
        raise LeaseLost(f"Job {held.job_id} was taken back.")
    queue, cancel_requested = row
    promise(session, held.job_id, queue, due_at)
    return bool(cancel_requested)


def hold(session: Session, held: Claim) -> None:
    """Lock the job for the rest of the transaction; raises LeaseLost.

    Whoever changes a job and what belongs to it locks the job first, then the image or reconstruction, then loose
    objects; in any other order two of them could wait for each other.
    """
    query = select(_JOBS.c.id).where(
        _JOBS.c.id == held.job_id, _JOBS.c.state == _RUNNING, _JOBS.c.lease_token == held.token
    )
    if session.execute(query.with_for_update()).one_or_none() is None:
        raise LeaseLost(f"Job {held.job_id} was taken back.")


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel a waiting job at once, ask a running one to stop, leave an ended one alone; returns it as it is now."""
    waits = _JOBS.c.state == _QUEUED
    session.execute(
        update(_JOBS)
        .where(_JOBS.c.id == job_id, or_(waits, _JOBS.c.state == _RUNNING))
        .values(
            cancel_requested=True,
            state=case((waits, literal(JobState.CANCELLED, _JOBS.c.state.type)), else_=_JOBS.c.state),
            finished_at=case((waits, literal(utc_now(), _JOBS.c.finished_at.type)), else_=None),
        )
    )
    session.expire_all()
    return get(session, job_id)


def expired(session: Session, limit: int) -> list[Claim]:
    """Claims whose worker was silent for longer than its lease."""
    rows = session.execute(
        select(
            Job.id,
            Job.kind,
            func.coalesce(Job.lease_token, ""),
            Job.attempts,
            Job.max_attempts,
            Job.image_id,
            Job.reconstruction_id,
            Job.request_id,
        )
        .where(Job.state == _RUNNING, Job.lease_expires_at < utc_now())
        .limit(limit)
    )
    return [Claim(*row) for row in rows]


def count_open(session: Session) -> dict[tuple[str, JobState], int]:
    """How many jobs wait for a worker or run, by queue and state; what autoscaling and metrics read.

    A job that was put off waits for no worker, so it calls for none.
    """
    is_open = or_(and_(Job.state == _QUEUED, Job.due_at <= utc_now()), Job.state == _RUNNING)
    rows = session.execute(select(Job.queue, Job.state, func.count()).where(is_open).group_by(Job.queue, Job.state))
    return {(queue, state): count for queue, state, count in rows}


def count_due(session: Session, queue: str) -> int:
    """How many jobs of a queue wait for a worker now."""
    query = select(func.count()).where(Job.queue == queue, Job.state == _QUEUED, Job.due_at <= utc_now())
    return session.scalar(query) or 0


def waiting_since(session: Session, queue: str, before: datetime, limit: int) -> list[str]:
    """Queued jobs of a queue that are due and were last woken before that moment, oldest first."""
    query = (
        select(Job.id)
        .where(Job.queue == queue, Job.state == _QUEUED, Job.woken_at < before, Job.due_at <= utc_now())
        .order_by(Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def _name(held: Claim) -> dict[str, Any]:
    return {"job_id": held.job_id, "token": held.token}


def _well_ended(held: Claim, seconds: dict[str, float]) -> dict[str, Any]:
    return _name(held) | {"now": utc_now(), "stage_seconds": seconds}


def _end(session: Session, held: Claim, state: JobState, **values: Any) -> None:
    ended = {"state": state, "finished_at": utc_now(), "lease_token": None, "lease_expires_at": None}
    statement = _HELD.values(ended | values).returning(_JOBS.c.id)
    if session.execute(statement, _name(held)).one_or_none() is None:
        raise LeaseLost(f"Job {held.job_id} was taken back.")
