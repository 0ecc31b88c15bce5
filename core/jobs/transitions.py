"""The job state machine, and the only writer of job rows.

queued --claim--> running --succeed / fail / cancel--> final
   ^                 |
   +---- requeue ----+      (retry, pause, deferral, hand-over at shutdown, silent worker)

Every transition is one guarded UPDATE, so that it happens once whoever tries; what it means for the image or
reconstruction, for the outbox and for those who watch the job is written in the same transaction.

Whoever changes a job and what belongs to it locks the job first, then the image or reconstruction, then loose objects;
in any other order two transactions could wait for each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
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

from core.clock import database_now
from core.database import Database, announce, insert_into
from core.errors import Conflict, LeaseLost, ServiceError
from core.jobs import outbox
from core.jobs.job import Claim, JobSpec, Renewal
from core.jobs.queries import ENDED, QUEUED, RUNNING, get
from core.jobs.retry import PausePolicy, RetryPolicy
from core.webhooks import messages
from models.base import JSONObject, new_id, utc_now
from models.image import Image, ImageState
from models.job import Job, JobKind, JobState
from models.reconstruction import Reconstruction, ReconstructionState

# Statements on the table itself skip the bookkeeping that the mapped class brings; every job passes here three times.
_JOBS = cast(Table, Job.__table__)

_MESSAGE_CHARACTERS = 1000

_MOST_COINCIDENCES = 10
"""So many workers may die while a job waits in them before it is held to be the cause, whatever it was doing."""

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
            "owner",
            "request_id",
            "max_attempts",
            "created_at",
        )
    }
    | {
        "state": JobState.QUEUED,
        "attempts": 0,
        "cancel_requested": False,
        "progress": 0.0,
        "due_at": database_now(),
        "woken_at": database_now(),
    }
)
_CLAIM = (
    update(_JOBS)
    .where(_JOBS.c.id == bindparam("job_id"), _JOBS.c.state == QUEUED, _JOBS.c.due_at <= database_now())
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
        type_coerce(_JOBS.c.kind, String),
        _JOBS.c.attempts,
        _JOBS.c.max_attempts,
        _JOBS.c.image_id,
        _JOBS.c.reconstruction_id,
        _JOBS.c.request_id,
        _JOBS.c.is_suspect,
        _JOBS.c.pauses,
    )
)
_IS_CLAIMED = (
    _JOBS.c.id == bindparam("job_id"),
    _JOBS.c.state == RUNNING,
    _JOBS.c.lease_token == bindparam("token"),
)
_CLAIMED = update(_JOBS).where(*_IS_CLAIMED)
_RELEASED: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "at_work": False}

_IS_CANCEL_REQUESTED = select(_JOBS.c.cancel_requested).where(*_IS_CLAIMED)
_LOCK = select(_JOBS.c.id).where(*_IS_CLAIMED).with_for_update()
_RENEW = _CLAIMED.values(
    lease_expires_at=bindparam("expires_at"),
    stage=bindparam("at_stage"),
    progress=bindparam("fraction"),
    at_work=bindparam("works"),
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
    session.execute(_CREATE, asdict(spec) | {"id": job_id, "created_at": utc_now()})
    outbox.enqueue(session, job_id, spec.queue)
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
            progress = {"at_stage": renewal.stage, "fraction": renewal.progress, "works": renewal.at_work}
            values = _identity(renewal.claim) | progress | {"expires_at": expires_at}
            row = session.execute(_RENEW, values).one_or_none()
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
    messages.note_job_end(session, claim.job_id, JobState.SUCCEEDED)
    announce(session, *_news(claim, JobState.SUCCEEDED))


def succeed_alone(database: Database, claim: Claim, seconds: dict[str, float]) -> None:
    """End a job well that has no result to record, of which nobody is told but its watchers; raises LeaseLost."""
    if not database.execute_alone(_SUCCEED, _identity(claim) | {"now": utc_now(), "stage_seconds": seconds}):
        raise _lease_lost(claim)
    database.publish(*_news(claim, JobState.SUCCEEDED))


def fail(session: Session, claim: Claim, code: str, message: str) -> None:
    """End the job with an error; raises LeaseLost."""
    error = _error(code, message)
    _end(session, claim, JobState.FAILED, **error)
    announce(session, *_news(claim, JobState.FAILED, {"error": {"code": code, "message": error["error_message"]}}))


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
    values: dict[str, Any] = {"stage": stage} | _error(code, message)
    if not count_attempt:
        values["attempts"] = _JOBS.c.attempts - 1
    if not _requeue(session, claim, delay, values):
        raise _lease_lost(claim)


def retry(session: Session, claim: Claim, policy: RetryPolicy, code: str, message: str) -> bool:
    """Note a failed attempt: queue the job again as the policy says, or fail it after its last; returns False where
    that was its end. Raises LeaseLost."""
    delay = policy.delay_after(claim)
    if delay is None:
        fail(session, claim, code, message)
    elif not _requeue(session, claim, delay, {"pauses": 0, "paused_since": None} | _error(code, message)):
        raise _lease_lost(claim)
    return delay is not None


def pause(session: Session, claim: Claim, policy: PausePolicy, code: str, message: str) -> bool:
    """Put the job off for a fault of its surroundings, with no attempt counted, or fail it when that fault has been met
    for as long as the policy's patience; returns False where that was its end. Raises LeaseLost."""
    is_same = (_JOBS.c.error_code == code) & _JOBS.c.paused_since.is_not(None)
    values = {
        "attempts": _JOBS.c.attempts - 1,
        "pauses": _JOBS.c.pauses + 1,
        "paused_since": case((is_same, _JOBS.c.paused_since), else_=database_now()),
    }
    has_patience = case((is_same, _JOBS.c.paused_since > database_now(-policy.patience)), else_=True)
    delay = policy.delay_after(claim)
    is_tried_again = _requeue(session, claim, delay, values | _error(code, message), has_patience)
    if not is_tried_again:
        fail(session, claim, code, message)
    return is_tried_again


def take_back(session: Session, claim: Claim, policy: RetryPolicy, *, at_work: bool, code: str) -> bool:
    """Queue the job of a silent worker again; returns False where that was its end. Raises LeaseLost.

    A job that only waited in its worker has nothing to do with its death, unless that happens again and again. One that
    was at work becomes a suspect, which works alone from then on: each worker that dies with it counts as an attempt
    and is followed by the wait of the policy, and the last one parks the job.
    """
    is_involved = at_work or claim.pauses >= _MOST_COINCIDENCES
    is_failure = is_involved and claim.is_suspect
    delay = policy.delay_after(claim) if is_failure else timedelta(0)
    if delay is None:
        message = f"Its worker died or fell silent each of {claim.attempt} times that it was at work alone."
        fail(session, claim, code, message)
        return False
    values = _error(code, "Its worker died or fell silent; it is tried again.")
    values |= {"is_suspect": True} if is_involved else {"pauses": _JOBS.c.pauses + 1}
    if not is_failure:
        values["attempts"] = _JOBS.c.attempts - 1
    if not _requeue(session, claim, delay, values):
        raise _lease_lost(claim)
    return True


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
        messages.note_job_end(session, job_id, JobState.CANCELLED)
        announce(session, job_id, "state", {"state": JobState.CANCELLED.value})
    return job


def reopen(session: Session, job_id: str) -> Job:
    """Queue a job again that failed or was cancelled, as if it were new; a suspect stays one.

    Returns the job as it is now. Raises NotFound, and Conflict for a job in another state, or whose image or
    reconstruction is not there any more to be made.
    """
    reopened = _JOBS.c.state.in_((JobState.FAILED, JobState.CANCELLED))
    row = session.execute(
        update(_JOBS)
        .where(_JOBS.c.id == job_id, reopened)
        .values(
            _RELEASED
            | dict.fromkeys(("stage", "finished_at", "started_at", "paused_since"))
            | {"state": JobState.QUEUED, "attempts": 0, "pauses": 0, "cancel_requested": False, "progress": 0.0}
            | {"due_at": database_now(), "woken_at": database_now()}
        )
        .returning(_JOBS.c.queue)
    ).one_or_none()
    job = get(session, job_id)
    session.refresh(job)
    if row is None:
        raise Conflict(f"Job {job_id} is {job.state}; only one that failed or was cancelled is tried again.")
    _reopen_owner(session, job)
    outbox.enqueue(session, job_id, row[0])
    announce(session, job_id, "state", {"state": JobState.QUEUED.value})
    return job


def reopen_each(session: Session, job_ids: Sequence[str]) -> tuple[list[Job], dict[str, str]]:
    """Queue those jobs again that can be; returns them, and why each of the others cannot. `job_ids` in their order."""
    reopened: list[Job] = []
    reasons: dict[str, str] = {}
    for job_id in job_ids:
        try:
            with session.begin_nested():
                reopened.append(reopen(session, job_id))
        except ServiceError as error:
            reasons[job_id] = str(error)
    return reopened, reasons


def wake(session: Session, job_ids: Sequence[str]) -> None:
    """Make deferred jobs due; those that do not wait any more stay as they are. `job_ids` in their order."""
    woken = session.execute(
        update(_JOBS)
        .where(_JOBS.c.id.in_(job_ids), _JOBS.c.state == QUEUED, _JOBS.c.due_at > database_now())
        .values(due_at=database_now(), woken_at=database_now())
        .returning(_JOBS.c.id, _JOBS.c.queue)
    ).all()
    outbox.withdraw(session, [job_id for job_id, _ in woken])
    for job_id, queue in woken:
        outbox.enqueue(session, job_id, queue)


def record_notified(database: Database, job_ids: Sequence[str]) -> None:
    """Note that the broker was handed new notifications of these jobs."""
    database.execute_alone(update(_JOBS).where(_JOBS.c.id.in_(job_ids)).values(woken_at=database_now()))


def record_usage(database: Database, claim: Claim, usage: JSONObject) -> None:
    """Note what a language model's answer cost this job, in a transaction of its own; a lost lease is no error.

    An answer that was bought before (`cached`) replaces no record of an earlier attempt, which may have bought it.
    """
    statement = _RECORD_USAGE.where(_JOBS.c.usage.is_(None)) if usage.get("cached") else _RECORD_USAGE
    database.execute_alone(statement, _identity(claim) | {"used": usage})


def charge(session: Session, job_id: str, usage: JSONObject) -> str | None:
    """Note the cost of an answer that came while the job was deferred, unless an attempt has noted its own; returns
    the owner who has to pay, if anybody."""
    charged = update(_JOBS).where(_JOBS.c.id == job_id, _JOBS.c.usage.is_(None)).values(usage=usage)
    owner: str | None = session.scalar(charged.returning(_JOBS.c.owner))
    return owner


def delete_of_image(session: Session, image_id: str) -> None:
    """Delete the jobs of an image and of its reconstructions; to those who watch, an open one is cancelled."""
    rows = session.execute(delete(_JOBS).where(_JOBS.c.image_id == image_id).returning(_JOBS.c.id, _JOBS.c.state))
    for job_id, state in rows:
        if not state.is_final:
            announce(session, job_id, "state", {"state": JobState.CANCELLED.value})


def delete_of_reconstruction(session: Session, reconstruction_id: str) -> None:
    """Delete the jobs of a reconstruction, which have ended."""
    session.execute(delete(_JOBS).where(_JOBS.c.reconstruction_id == reconstruction_id))


def delete_ended(session: Session, job_ids: Sequence[str]) -> None:
    """Delete those of the jobs that have ended, and were not retried since."""
    session.execute(delete(_JOBS).where(_JOBS.c.id.in_(job_ids), _JOBS.c.state.in_(ENDED)))


def restore_encodes(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert jobs that encoded pictures before the database was lost, as they ended; those that are there stay."""
    ended = {"kind": JobKind.ENCODE, "state": JobState.SUCCEEDED, "cancel_requested": False}
    moments = ({"due_at": row["created_at"], "woken_at": row["created_at"]} for row in rows)
    values = [dict(row) | ended | due for row, due in zip(rows, moments, strict=True)]
    if values:
        session.execute(insert_into(session, Job).on_conflict_do_nothing(), values)


def _identity(claim: Claim) -> dict[str, Any]:
    return {"job_id": claim.job_id, "token": claim.token}


def _lease_lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"Job {claim.job_id} was taken back.")


def _error(code: str | None, message: str | None) -> dict[str, Any]:
    return {"error_code": code, "error_message": None if message is None else message[:_MESSAGE_CHARACTERS]}


def _requeue(
    session: Session,
    claim: Claim,
    delay: timedelta,
    values: dict[str, Any],
    condition: ColumnElement[bool] | None = None,
) -> bool:
    """Queue a running job again, or cancel it where that was requested; False when the claim is not valid any more or
    the condition does not hold."""
    due_at = database_now(delay)
    queued = _RELEASED | {"state": JobState.QUEUED, "due_at": due_at, "woken_at": due_at, "stage": None} | values
    statement = _CLAIMED if condition is None else _CLAIMED.where(condition)
    row = session.execute(
        statement.values(queued).returning(_JOBS.c.queue, _JOBS.c.cancel_requested), _identity(claim)
    ).one_or_none()
    if row is None:
        return False
    queue, cancel_requested = row
    if cancel_requested:
        cancel(session, claim.job_id)
    else:
        outbox.enqueue(session, claim.job_id, queue, delay)
        announce(session, *_news(claim, JobState.QUEUED))
    return True


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
    messages.note_job_end(session, claim.job_id, state)


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


def _reopen_owner(session: Session, job: Job) -> None:
    """Have what the job was for wait for it again; raises Conflict where it cannot be made any more."""
    if job.reconstruction_id is not None:
        ended = (ReconstructionState.FAILED, ReconstructionState.CANCELLED)
        statement = (
            update(Reconstruction)
            .where(Reconstruction.id == job.reconstruction_id, Reconstruction.state.in_(ended))
            .values(state=ReconstructionState.PENDING)
            .returning(Reconstruction.id)
        )
        reason = f"Reconstruction {job.reconstruction_id} is there already, or on its way."
    elif job.image_id is not None:
        statement = (
            update(Image)
            .where(
                Image.id == job.image_id,
                Image.state.in_((ImageState.FAILED, ImageState.CANCELLED)),
                Image.original_key.is_not(None),
            )
            .values(state=ImageState.PENDING)
            .returning(Image.id)
        )
        reason = f"The original of image {job.image_id} is gone, or the image is there already. Upload it again."
    else:
        return
    if session.execute(statement, execution_options={"synchronize_session": False}).one_or_none() is None:
        raise Conflict(reason)


def _news(claim: Claim, state: JobState, details: dict[str, Any] | None = None) -> tuple[str, str, dict[str, Any]]:
    return claim.job_id, "state", {"state": state.value, "attempt": claim.attempt} | (details or {})
