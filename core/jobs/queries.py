"""Reading jobs. Every function works in the caller's session and changes nothing."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, String, and_, func, literal, or_, select, type_coerce
from sqlalchemy.orm import Session

from core.broker import QUEUES
from core.clock import database_now, statement_now
from core.errors import NotFound
from core.jobs.job import Claim, HeldLease
from core.owners.view import EVERYTHING, View
from models.base import JSONObject
from models.job import Job, JobKind, JobPriority, JobState

# Written into the statement as they are, so that the planner can see that the partial index of open jobs serves.
QUEUED = literal(JobState.QUEUED, Job.state.type, literal_execute=True)
RUNNING = literal(JobState.RUNNING, Job.state.type, literal_execute=True)

ENDED = [state for state in JobState if state.is_final]

FARTHEST_POSITION = 1000
"""The highest position that is counted: this many jobs, or more, wait before."""


def get(session: Session, job_id: str, view: View = EVERYTHING) -> Job:
    """The job, where it is in the view; raises NotFound."""
    job = session.get(Job, job_id)
    if job is None or not view.has(job):
        raise NotFound(f"There is no job {job_id!r}.")
    return job


def list_jobs(
    session: Session,
    view: View,
    *,
    limit: int,
    before: str | None = None,
    state: JobState | None = None,
    kind: JobKind | None = None,
    code: str | None = None,
    image_id: str | None = None,
    batch_id: str | None = None,
) -> list[Job]:
    """Newest first; `before` is the id that the last page ended with."""
    wanted = {
        Job.state: state,
        Job.kind: kind,
        Job.error_code: code,
        Job.image_id: image_id,
        Job.batch_id: batch_id,
    }
    query = select(Job).where(*view.conditions(Job))
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    if before is not None:
        query = query.where(Job.id < before)
    return list(session.scalars(query.order_by(Job.id.desc()).limit(limit)))


def latest_by_image(session: Session, image_ids: Sequence[str]) -> dict[str, Job]:
    """The latest job of each image that has one, by the image's id."""
    newest = select(func.max(Job.id)).where(Job.image_id.in_(image_ids)).group_by(Job.image_id)
    rows = session.scalars(select(Job).where(Job.id.in_(newest)))
    return {row.image_id: row for row in rows if row.image_id is not None}


def encodes_of(session: Session, image_ids: Sequence[str]) -> dict[str, Job]:
    """The job that encoded each of these images, where that is known, by the image's id."""
    rows = session.scalars(
        select(Job)
        .where(Job.image_id.in_(image_ids), Job.kind == JobKind.ENCODE, Job.state == JobState.SUCCEEDED)
        .order_by(Job.id)
    )
    return {row.image_id: row for row in rows if row.image_id is not None}


def open_ids(
    session: Session,
    *,
    image_id: str | None = None,
    batch_id: str | None = None,
    reconstruction_id: str | None = None,
) -> list[str]:
    """Ids of the jobs of an image, batch or reconstruction that have not ended, in the order in which their rows are to
    be locked."""
    if reconstruction_id is not None:
        is_of = Job.reconstruction_id == reconstruction_id
    else:
        is_of = Job.image_id == image_id if image_id is not None else Job.batch_id == batch_id
    query = select(Job.id).where(is_of, Job.state.in_((JobState.QUEUED, JobState.RUNNING))).order_by(Job.id)
    return list(session.scalars(query))


def queue_position(session: Session, job: Job) -> int | None:
    """How many jobs of the same queue wait before this one: those that were there before, of an interactive job the
    interactive ones alone, of a bulk job all of those too; None when it does not wait.

    Counted up to FARTHEST_POSITION, so that looking at a job costs the same however many wait.
    """
    if job.state != JobState.QUEUED:
        return None
    is_before = Job.id < job.id
    if job.priority == JobPriority.BULK:
        is_before |= Job.priority == JobPriority.INTERACTIVE
    else:
        is_before &= Job.priority == JobPriority.INTERACTIVE
    return _count_due_up_to(session, job.queue, FARTHEST_POSITION, is_before)


def next_position(session: Session, queue: str, priority: JobPriority) -> int:
    """The queue position of a job that is submitted now; for use outside of the transaction that submits it."""
    is_before = () if priority is JobPriority.BULK else (Job.priority == JobPriority.INTERACTIVE,)
    return _count_due_up_to(session, queue, FARTHEST_POSITION, *is_before)


def count_open_of(session: Session, queue: str, at_most: int) -> int:
    """How many jobs of a queue have not ended, deferred ones included, counted up to `at_most`."""
    is_open = or_(Job.state == QUEUED, Job.state == RUNNING)
    found = select(literal(1)).where(Job.queue == queue, is_open).limit(at_most).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def usage_of(session: Session, claim: Claim) -> JSONObject | None:
    """What a language model's answer cost this job, in this attempt or an earlier one."""
    usage: JSONObject | None = session.scalar(select(Job.usage).where(Job.id == claim.job_id))
    return usage


def ended_with(session: Session, view: View, code: str, limit: int, after: str = "") -> list[str]:
    """Jobs that failed with an error code, in the order in which their rows are to be locked."""
    query = (
        select(Job.id)
        .where(Job.error_code == code, Job.state == JobState.FAILED, Job.id > after, *view.conditions(Job))
        .order_by(Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def held_leases(session: Session, limit: int) -> list[HeldLease]:
    """The leases of all jobs that run, those of the longest-lived jobs first."""
    rows = session.execute(
        select(
            Job.lease_expires_at,
            Job.at_work,
            Job.id,
            type_coerce(Job.kind, String),
            func.coalesce(Job.lease_token, ""),
            Job.attempts,
            Job.max_attempts,
            Job.image_id,
            Job.reconstruction_id,
            Job.request_id,
            Job.is_suspect,
            Job.pauses,
            type_coerce(Job.priority, String),
            Job.owner,
        )
        # With the queues the index of open jobs serves, also where it holds those that have ended.
        .where(Job.queue.in_(QUEUES), Job.state == RUNNING)
        .order_by(Job.id)
        .limit(limit)
    )
    return [HeldLease(Claim(*claim), renewed, at_work) for renewed, at_work, *claim in rows]


def paused(session: Session, codes: Sequence[str], limit: int) -> list[str]:
    """Jobs that wait, put off for one of these faults, in the order in which their rows are to be locked."""
    query = (
        select(Job.id)
        .where(Job.error_code.in_(codes), Job.state == QUEUED, Job.pauses > 0, Job.due_at > database_now())
        .order_by(Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def misdated(session: Session, longest_delay: timedelta, limit: int) -> list[str]:
    """Jobs that are due later than any pause lasts: a clock that has been corrected since wrote the date.

    A job that waits for a batch of requests has a stage, and is due when the batch is.
    """
    query = (
        select(Job.id)
        .where(
            Job.queue.in_(QUEUES),
            Job.state == QUEUED,
            Job.stage.is_(None),
            Job.woken_at > database_now(longest_delay),
        )
        .order_by(Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def count_open(session: Session) -> dict[tuple[str, JobState], int]:
    """How many jobs wait for a worker or run, by queue and state; what autoscaling and metrics read.

    A deferred job waits for no worker, so it calls for none.
    """
    is_open = or_(and_(Job.state == QUEUED, Job.due_at <= database_now()), Job.state == RUNNING)
    rows = session.execute(select(Job.queue, Job.state, func.count()).where(is_open).group_by(Job.queue, Job.state))
    return {(queue, state): count for queue, state, count in rows}


def count_due_by_priority(session: Session) -> dict[tuple[str, JobPriority], int]:
    """How many jobs wait for a worker, by queue and priority."""
    rows = session.execute(
        select(Job.queue, Job.priority, func.count())
        .where(Job.queue.in_(QUEUES), Job.state == QUEUED, Job.due_at <= statement_now())
        .group_by(Job.queue, Job.priority)
    )
    return {(queue, priority): count for queue, priority, count in rows}


def oldest_due_seconds(session: Session) -> dict[str, float]:
    """For how long the job of each queue that has waited longest for a worker has been due."""
    query = (
        select(Job.queue, func.min(Job.due_at), database_now())
        .where(Job.queue.in_(QUEUES), Job.state == QUEUED, Job.due_at <= database_now())
        .group_by(Job.queue)
    )
    return {queue: max(0.0, (now - oldest).total_seconds()) for queue, oldest, now in session.execute(query)}


def count_failed(session: Session) -> dict[str, int]:
    """How many jobs stand as failed, by the code of their error."""
    query = (
        select(Job.error_code, func.count())
        .where(Job.error_code.is_not(None), Job.state == JobState.FAILED)
        .group_by(Job.error_code)
    )
    return {code or "": count for code, count in session.execute(query)}


def count_due(session: Session, queue: str) -> int:
    """How many jobs of a queue wait for a worker now."""
    query = select(func.count()).where(Job.queue == queue, Job.state == QUEUED, Job.due_at <= database_now())
    return session.scalar(query) or 0


def waiting_since(session: Session, queue: str, at_least: timedelta, limit: int) -> list[str]:
    """Queued jobs of a queue that are due and were last woken so long ago, oldest first."""
    query = (
        select(Job.id)
        .where(
            Job.queue == queue,
            Job.state == QUEUED,
            Job.woken_at < database_now(-at_least),
            Job.due_at <= database_now(),
        )
        .order_by(Job.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def _count_due_up_to(session: Session, queue: str, at_most: int, *conditions: ColumnElement[bool]) -> int:
    # Deferred jobs are ahead of nobody.
    is_due = (Job.queue == queue, Job.state == QUEUED, Job.due_at <= database_now())
    found = select(literal(1)).where(*is_due, *conditions).limit(at_most).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0
