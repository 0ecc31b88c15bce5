"""The job state machine. Job rows are written here and, by those who take and keep one, in `claims.py`; nowhere else.

queued --claim--> running --succeed / fail / cancel--> final
   ^                 |
   +---- requeue ----+      (retry, pause, deferral, hand-over at shutdown, silent worker)

Every transition is one guarded UPDATE, so that it happens once whoever tries; what it means for the image or
reconstruction, for the outbox and for those who watch the job is written in the same transaction.

Whoever changes a job and what belongs to it locks the job first, then the image or reconstruction, then loose objects;
in any other order two transactions could wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Executable,
    Table,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    update,
)
from sqlalchemy.orm import Session

from core.clock import database_now
from core.database import Database, announce, insert_into
from core.errors import Conflict, ServiceError
from core.jobs import outbox, subjects
from core.jobs.claims import CLAIMED, identity, lease_lost, news
from core.jobs.job import Claim, JobSpec
from core.jobs.queries import ENDED, QUEUED, RUNNING, get
from core.jobs.retry import PausePolicy, RetryPolicy
from core.webhooks import messages
from models.base import JSONObject, new_id, utc_now
from models.job import Job, JobKind, JobPriority, JobState

# Statements on the table itself skip the bookkeeping that the mapped class brings; every job passes here.
_JOBS = cast(Table, Job.__table__)

_MESSAGE_CHARACTERS = 1000

_MOST_COINCIDENCES = 10
"""So many workers may die while a job waits in them before it is held to be the cause, whatever it was doing."""

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
            "priority",
            "deadline",
            "trace_parent",
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
_RELEASED: dict[str, Any] = {"lease_token": None, "lease_expires_at": None, "at_work": False}
_SUCCEED = CLAIMED.values(
    _RELEASED
    | {
        "state": JobState.SUCCEEDED,
        "finished_at": bindparam("now"),
        "progress": 1.0,
        "stage": None,
        "seconds": bindparam("stage_seconds"),
    }
).returning(_JOBS.c.id)


def create(session: Session, spec: JobSpec) -> str:
    """Insert a queued job and its notification in the caller's transaction; returns the job's id."""
    job_id = new_id("job")
    session.execute(_CREATE, asdict(spec) | {"id": job_id, "created_at": utc_now()})
    outbox.enqueue(session, job_id, spec.queue)
    return job_id


def succeed(session: Session, claim: Claim, seconds: dict[str, float]) -> None:
    """End the job well, in the transaction that records its result; raises LeaseLost."""
    _execute_claimed(session, _SUCCEED, claim, {"now": utc_now(), "stage_seconds": seconds})
    messages.note_job_end(session, claim.job_id, JobState.SUCCEEDED)
    announce(session, *news(claim, JobState.SUCCEEDED))


def succeed_alone(database: Database, claim: Claim, seconds: dict[str, float]) -> None:
    """End a job well that has no result to record, of which nobody is told but its watchers; raises LeaseLost."""
    if not database.execute_alone(_SUCCEED, identity(claim) | {"now": utc_now(), "stage_seconds": seconds}):
        raise lease_lost(claim)
    database.publish(*news(claim, JobState.SUCCEEDED))


def fail(session: Session, claim: Claim, code: str, message: str) -> None:
    """End the job with an error; raises LeaseLost."""
    error = _error(code, message)
    _end(session, claim, JobState.FAILED, **error)
    announce(session, *news(claim, JobState.FAILED, {"error": {"code": code, "message": error["error_message"]}}))


def cancel_running(session: Session, claim: Claim) -> None:
    """End the job after a cancel request; raises LeaseLost."""
    _end(session, claim, JobState.CANCELLED)
    announce(session, *news(claim, JobState.CANCELLED))


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
        raise lease_lost(claim)


def retry(session: Session, claim: Claim, policy: RetryPolicy, code: str, message: str) -> bool:
    """Note a failed attempt: queue the job again as the policy says, or fail it after its last; returns False where
    that was its end. Raises LeaseLost."""
    delay = policy.delay_after(claim)
    if delay is None:
        fail(session, claim, code, message)
    elif not _requeue(session, claim, delay, {"pauses": 0, "paused_since": None} | _error(code, message)):
        raise lease_lost(claim)
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
        raise lease_lost(claim)
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
        subjects.note_end(session, job, JobState.CANCELLED)
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
    subjects.reopen(session, job)
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


def charge(session: Session, job_id: str, usage: JSONObject) -> str | None:
    """Note the cost of an answer that came while the job was deferred, unless an attempt has noted its own; returns
    the owner who has to pay, if anybody."""
    charged = update(_JOBS).where(_JOBS.c.id == job_id, _JOBS.c.usage.is_(None)).values(usage=usage)
    owner: str | None = session.scalar(charged.returning(_JOBS.c.owner))
    return owner


def hasten(database: Database, job_ids: Sequence[str], priority: JobPriority, deadline: datetime | None) -> None:
    """Have jobs be as urgent as an order that found them on their way, where they are less so, in a transaction of its
    own: who orders a picture holds its image, which those wait for who hold its jobs."""
    if not job_ids or (priority is JobPriority.BULK and deadline is None):
        return
    is_open = (_JOBS.c.id.in_(job_ids), _JOBS.c.state.in_((JobState.QUEUED, JobState.RUNNING)))
    with database.write() as session:
        if priority is JobPriority.INTERACTIVE:
            session.execute(update(_JOBS).where(*is_open, _JOBS.c.priority != priority).values(priority=priority))
        if deadline is not None:
            is_later = or_(_JOBS.c.deadline.is_(None), _JOBS.c.deadline > deadline)
            session.execute(update(_JOBS).where(*is_open, is_later).values(deadline=deadline))


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
    statement = CLAIMED if condition is None else CLAIMED.where(condition)
    row = session.execute(
        statement.values(queued).returning(_JOBS.c.queue, _JOBS.c.cancel_requested), identity(claim)
    ).one_or_none()
    if row is None:
        return False
    queue, cancel_requested = row
    if cancel_requested:
        cancel(session, claim.job_id)
    else:
        outbox.enqueue(session, claim.job_id, queue, delay)
        announce(session, *news(claim, JobState.QUEUED))
    return True


def _execute_claimed(
    session: Session, statement: Executable, claim: Claim, values: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    row = session.execute(statement, identity(claim) | (values or {})).one_or_none()
    if row is None:
        raise lease_lost(claim)
    return tuple(row)


def _end(session: Session, claim: Claim, state: JobState, **values: Any) -> None:
    statement = CLAIMED.values(_RELEASED | {"state": state, "finished_at": utc_now()} | values)
    _execute_claimed(session, statement.returning(_JOBS.c.id), claim)
    subjects.note_end(session, claim, state)
    messages.note_job_end(session, claim.job_id, state)
