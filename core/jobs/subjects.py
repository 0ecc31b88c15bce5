"""What a job is for, an image or a reconstruction, changed with the job in one transaction."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.jobs.job import Claim
from models.image import Image, ImageState
from models.job import Job, JobState
from models.reconstruction import Reconstruction, ReconstructionState

_STATES = {
    JobState.FAILED: (ImageState.FAILED, ReconstructionState.FAILED),
    JobState.CANCELLED: (ImageState.CANCELLED, ReconstructionState.CANCELLED),
}


def note_end(session: Session, job: Job | Claim, state: JobState) -> None:
    """Note a failure or cancellation on what the job was for. An image that is already there stays ready."""
    image_state, reconstruction_state = _STATES[state]
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


def reopen(session: Session, job: Job) -> None:
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
