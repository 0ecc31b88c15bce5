"""The job state machine, and the only writer of job rows.

queued --claim--> running --succeed / fail / cancel--> final
   ^                 |
   +---- requeue ----+      (retry, deferral, hand-over at shutdown, expired lease)

Every transition is one guarded UPDATE, so that it happens once whoever tries; what it means for the image or
reconstruction, for the outbox and for those who watch the job is written in the same transaction.

Whoever changes a job and what belongs to it locks the job first, then the image or reconstruction, then loose objects;
in any other order two transactions could wait for each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import (
    Executable,
    String,
    Table,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from core.database import Database, announce
from core.errors import LeaseLost
from core.jobs import outbox
from core.jobs.job import Claim, JobSpec, Renewal
from core.jobs.queries import QUEUED, RUNNING, get
from core.jobs.retry import RetryPolicy
from models.base import JSONObject, new_id, utc_now
from models.image import Image, ImageState
from models.job import Job, JobState
from models.reconstruction import Reconstruction, ReconstructionState

# Statements on the table itself skip the bookkeeping that the mapped class brings; every job passes here three times.
_JOBS = cast(Table, Job.__table__)

_CLOCK_TOLERANCE = timedelta(seconds=5)
"""A job made on a machine whose clock is a little ahead must not be refused by the worker that it wakes."""

_MESSAGE_CHARACTERS = 1000

_OWNER_STATES = {
    JobState.FAILED: (ImageState.FAILED, ReconstructionState.FAILED),
    JobState.CANCELLED: (ImageState.CANCELLED, ReconstructionState.CANCELLED),
}

# Built once: putting an expression together costs more than sending it, and every job passes through these.
_CREATE = insert(_JOBS).values(
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
    .where(_JOBS.c.id == bindparam("job_id"), _JOBS.c.state == QUEUED, _JOBS.c.due_at <= bindparam("due_before"))
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
        type_coerce(_JOBS.c.kind, String),
        _JOBS.c.attempts,
        _JOBS.c.max_attempts,
        _JOBS.c.image_id,
        _JOBS.c.reconstruction_id,
        _JOBS.c.request_id,
    )
)
_IS_CLAIMED = (
    _JOBS.c.id == bindparam("job_id"),
    _JOBS.c.state == RUNNING,
    _JOBS.c.lease_token == bindparam("token"),
)
_CLAIMED = update(_JOBS).where(*_IS_CLAIMED)
_RELEASED: dict[str, Any] = {"lease_token": None, "lease_expires_at": None}

_IS_CANCEL_REQUESTED = select(_JOBS.c.cancel_requested).where(*_IS_CLAIMED)
_LOCK = select(_JOBS.c.id).where(*_IS_CLAIMED).with_for_update()
_RENEW = _CLAIMED.values(
    lease_expires_at=bindparam("expires_at"), stage=bindparam("at_stage"), progress=bindparam("fraction")
).returning(_JOBS.c.cancel_requested)
_SUCCEED = _CLAIMED.values(
    _RELEASED
    | {
        "state": JobState.SUCCEEDED,
        "finished_at": bindparam("now"),
        "progress": 1.0,
        "stage": None,
        "seconds": bindparam("stage_seconds"),
    }
).returning(_JOBS.c.id)
_RECORD_USAGE = _CLAIMED.values(usage=bindparam("used"))


def create(session: Session, spec: JobSpec) -> str:
    """Insert a queued job and its notification in the caller's transaction; returns the job's id."""
    job_id = new_id("job")
    now = utc_now()
    session.execute(_CREATE, asdict(spec) | {"id": job_id, "created_at": now, "due_at": now, "woken_at": now})
    outbox.enqueue(session, job_id, spec.queue, now)
    return job_id


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
    kind, attempts, *limits_and_owners = rows[0]
    granted = Claim(job_id, kind, token, attempts, *limits_and_owners)
    database.publish(*_news(granted, JobState.RUNNING))
    return granted


def renew(database: Database, renewals: Iterable[Renewal], lease: timedelta) -> dict[str, bool]:
    """Prolong leases and note progress, all in one transaction; returns by job id whether the job has to stop.

    A job whose claim is not valid any more is missing in what is returned.
    """
    expires_at = utc_now() + lease
    must_stop: dict[str, bool] = {}
    with database.write() as session:
        # In one order, as everybody who locks several jobs takes them, so that nobody waits in a circle.
        for renewal in sorted(renewals, key=lambda one: one.claim.job_id):
            progress = {"at_stage": renewal.stage, "fraction": renewal.progress, "expires_at": expires_at}
            row = session.execute(_RENEW, _identity(renewal.claim) | progress).one_or_none()
            if row is not None:
                must_stop[renewal.claim.job_id] = bool(row[0])
    return must_stop


def is_cancel_requested(database: Database, claim: Claim) -> bool:
    """Whether a cancel request ends the job; raises LeaseLost when the claim is not valid any more."""
    rows = database.execute_alone(_IS_CANCEL_REQUESTED, _identity(claim))
    if not rows:
        raise _lease_lost(claim)
    return bool(rows[0][0])


def lock(session: Session, claim: Claim) -> None:
    """Lock the job for the rest of the transaction; raises LeaseLost."""
    if session.execute(_LOCK, _identity(claim)).one_or_none() is None:
        raise _lease_lost(claim)


def succeed(session: Session, claim: Claim, seconds: dict[str, float]) -> None:
    """End the job well, in the transaction that records its result; raises LeaseLost."""
    _execute_claimed(session, _SUCCEED, claim, {"now": utc_now(), "stage_seconds": seconds})
    announce(session, *_news(claim, JobState.SUCCEEDED))


def succeed_alone(database: Database, claim: Claim, seconds: dict[str, float]) -> None:
    """End a job well that has no result to record; raises LeaseLost."""
    if not database.execute_alone(_SUCCEED, _identity(claim) | {"now": utc_now(), "stage_seconds": seconds}):
        raise _lease_lost(claim)
    database.publish(*_news(claim, JobState.SUCCEEDED))


def fail(session: Session, claim: Claim, code: str, message: str) -> None:
    """End the job with an error; raises LeaseLost."""
    error = {"code": code, "message": message[:_MESSAGE_CHARACTERS]}
    _end(session, claim, JobState.FAILED, error_code=code, error_message=error["message"])
    announce(session, *_news(claim, JobState.FAILED, {"error": error}))


def cancel_running(session: Session, claim: Claim) -> None:
    """End the job after a cancel request; raises LeaseLost."""
    _end(session, claim, JobState.CANCELLED)
    announce(session, *_news(claim, JobState.CANCELLED))


def requeue(
    session: Session,
    claim: Claim,
    *,
    delay: timedelta = timedelta(0),
    code: str | None = None,
    message: str | None = None,
    count_attempt: bool,
    stage: str | None = None,
) -> None:
    """Queue the job for another attempt after `delay`, unless there is a cancel request; raises LeaseLost.

    An attempt that did not fail by the job's own fault is not counted. `stage` says what a deferred job waits in.
    """
    due_at = utc_now() + delay
    values = _RELEASED | {
        "state": JobState.QUEUED,
        "attempts": _JOBS.c.attempts if count_attempt else _JOBS.c.attempts - 1,
        "due_at": due_at,
        "woken_at": due_at,
        "error_code": code,
        "error_message": None if message is None else message[:_MESSAGE_CHARACTERS],
    }
    if stage is not None:
        values["stage"] = stage
    statement = _CLAIMED.values(values).returning(_JOBS.c.queue, _JOBS.c.cancel_requested)
    queue, cancel_requested = _execute_claimed(session, statement, claim)
    if cancel_requested:
        cancel(session, claim.job_id)
        return
    outbox.enqueue(session, claim.job_id, queue, due_at)
    announce(session, *_news(claim, JobState.QUEUED))


def retry(session: Session, claim: Claim, policy: RetryPolicy, code: str, message: str) -> None:
    """Note a failed attempt: queue the job again as the policy says, or fail it after its last; raises LeaseLost."""
    delay = policy.delay_after(claim)
    if delay is None:
        fail(session, claim, code, message)
    else:
        requeue(session, claim, delay=delay, code=code, message=message, count_attempt=True)


def cancel(session: Session, job_id: str) -> Job:
    """Cancel a waiting job at once with what it was for, ask a running one to stop, leave an ended one alone.

    Returns the job as it is now; raises NotFound.
    """
    waits = _JOBS.c.state == QUEUED
    row = session.execute(
        update(_JOBS)
        .where(_JOBS.c.id == job_id, or_(waits, _JOBS.c.state == RUNNING))
        .values(
            cancel_requested=True,
            state=case((waits, literal(JobState.CANCELLED, _JOBS.c.state.type)), else_=_JOBS.c.state),
            finished_at=case((waits, literal(utc_now(), _JOBS.c.finished_at.type)), else_=None),
        )
        .returning(_JOBS.c.state)
    ).one_or_none()
    session.expire_all()
    job = get(session, job_id)
    if row is not None and job.state == JobState.CANCELLED:
        _update_owner(session, job, JobState.CANCELLED)
        announce(session, job_id, "state", {"state": JobState.CANCELLED.value})
    return job


def wake(session: Session, job_ids: Sequence[str]) -> None:
    """Make deferred jobs due; those that do not wait any more stay as they are. `job_ids` in their order."""
    now = utc_now()
    woken = session.execute(
        update(_JOBS)
        .where(_JOBS.c.id.in_(job_ids), _JOBS.c.state == QUEUED, _JOBS.c.due_at > now)
        .values(due_at=now, woken_at=now)
        .returning(_JOBS.c.id, _JOBS.c.queue)
    ).all()
    outbox.withdraw(session, [job_id for job_id, _ in woken])
    for job_id, queue in woken:
        outbox.enqueue(session, job_id, queue, now)


def record_notified(database: Database, job_ids: Sequence[str]) -> None:
    """Note that the broker was handed new notifications of these jobs."""
    database.execute_alone(update(_JOBS).where(_JOBS.c.id.in_(job_ids)).values(woken_at=utc_now()))


def record_usage(database: Database, claim: Claim, usage: JSONObject) -> None:
    """Note what a language model's answer cost this job, in a transaction of its own; a lost lease is no error.

    An answer that was bought before (`cached`) replaces no record of an earlier attempt, which may have bought it.
    """
    statement = _RECORD_USAGE.where(_JOBS.c.usage.is_(None)) if usage.get("cached") else _RECORD_USAGE
    database.execute_alone(statement, _identity(claim) | {"used": usage})


def charge(session: Session, job_id: str, usage: JSONObject) -> None:
    """Note the cost of an answer that came while the job was deferred, unless an attempt has noted its own."""
    session.execute(update(_JOBS).where(_JOBS.c.id == job_id, _JOBS.c.usage.is_(None)).values(usage=usage))


def delete_of_image(session: Session, image_id: str) -> None:
    """Delete the jobs of an image and of its reconstructions; to those who watch, an open one is cancelled."""
    rows = session.execute(delete(_JOBS).where(_JOBS.c.image_id == image_id).returning(_JOBS.c.id, _JOBS.c.state))
    for job_id, state in rows:
        if not state.is_final:
            announce(session, job_id, "state", {"state": JobState.CANCELLED.value})


def _identity(claim: Claim) -> dict[str, Any]:
    return {"job_id": claim.job_id, "token": claim.token}


def _lease_lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"Job {claim.job_id} was taken back.")


def _execute_claimed(
    session: Session, statement: Executable, claim: Claim, values: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    row = session.execute(statement, _identity(claim) | (values or {})).one_or_none()
    if row is None:
        raise _lease_lost(claim)
    return tuple(row)


def _end(session: Session, claim: Claim, state: JobState, **values: Any) -> None:
    statement = _CLAIMED.values(_RELEASED | {"state": state, "finished_at": utc_now()} | values)
    _execute_claimed(session, statement.returning(_JOBS.c.id), claim)
    _update_owner(session, claim, state)


def _update_owner(session: Session, job: Job | Claim, state: JobState) -> None:
    """Note a failure or cancellation on what the job was for. An image that is already there stays ready."""
    image_state, reconstruction_state = _OWNER_STATES[state]
    if job.reconstruction_id is not None:
        session.execute(
            update(Reconstruction)
            .where(Reconstruction.id == job.reconstruction_id, Reconstruction.state == ReconstructionState.PENDING)
            .values(state=reconstruction_state),
            execution_options={"synchronize_session": False},
        )
    elif job.image_id is not None:
        session.execute(
            update(Image).where(Image.id == job.image_id, Image.state == ImageState.PENDING).values(state=image_state),
            execution_options={"synchronize_session": False},
        )


def _news(claim: Claim, state: JobState, details: dict[str, Any] | None = None) -> tuple[str, str, dict[str, Any]]:
    return claim.job_id, "state", {"state": state.value, "attempt": claim.attempt} | (details or {})
