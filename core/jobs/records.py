"""What the end of a job means for the image or reconstruction that it works on; always in the job's transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from core.jobs import repository
from core.jobs.outbox import promise
from core.jobs.repository import Claim
from models.base import utc_now
from models.image import Image, ImageState
from models.job import Job, JobState
from models.outbox import OutboxRow
from models.reconstruction import Reconstruction, ReconstructionState

_IMAGE_STATES = {JobState.FAILED: ImageState.FAILED, JobState.CANCELLED: ImageState.CANCELLED}
_RECONSTRUCTION_STATES = {
    JobState.FAILED: ReconstructionState.FAILED,
    JobState.CANCELLED: ReconstructionState.CANCELLED,
}


def update_owner(session: Session, job: Job | Claim, state: JobState) -> None:
    """Note a failure or cancellation on what the job was for. An image that is already there stays ready."""
    if job.reconstruction_id is not None:
        session.execute(
            update(Reconstruction)
            .where(Reconstruction.id == job.reconstruction_id, Reconstruction.state == ReconstructionState.PENDING)
            .values(state=_RECONSTRUCTION_STATES[state]),
            execution_options={"synchronize_session": False},
        )
    elif job.image_id is not None:
        session.execute(
            update(Image)
            .where(Image.id == job.image_id, Image.state == ImageState.PENDING)
            .values(state=_IMAGE_STATES[state]),
            execution_options={"synchronize_session": False},
        )


def cancel(session: Session, job_id: str) -> Job:
    """Cancel a waiting job with what it was for, ask a running one to stop, leave an ended one alone."""
    job = repository.request_cancel(session, job_id)
    if job.state == JobState.CANCELLED:
        update_owner(session, job, JobState.CANCELLED)
    return job


def put_back(
    session: Session, held: Claim, *, delay: timedelta, code: str | None, message: str | None, count_attempt: bool
) -> None:
    """Queue the job for another attempt, unless somebody has asked for it to stop; raises LeaseLost."""
    if repository.put_back(session, held, delay=delay, code=code, message=message, count_attempt=count_attempt):
        cancel(session, held.job_id)


def wake(session: Session, job_ids: Sequence[str]) -> None:
    """Make jobs due that were put off; those that do not wait any more stay as they are. `job_ids` in their order."""
    now = utc_now()
    woken = session.execute(
        update(Job)
        .where(Job.id.in_(job_ids), Job.state == JobState.QUEUED, Job.due_at > now)
        .values(due_at=now, woken_at=now)
        .returning(Job.id, Job.queue),
        execution_options={"synchronize_session": False},
    ).all()
    session.execute(delete(OutboxRow).where(OutboxRow.job_id.in_([job_id for job_id, _ in woken])))
    for job_id, queue in woken:
        promise(session, job_id, queue, now)
