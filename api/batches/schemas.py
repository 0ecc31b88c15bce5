"""How a batch looks over HTTP."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from api.root_path import address
from core.archive.batches import BatchCounts
from models.batch import Batch
from models.job import JobState

MAX_NAME_CHARS = 255


class NewBatch(BaseModel):
    """The JSON body that makes a batch without pictures, to be filled by uploads that name it."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=MAX_NAME_CHARS)


class BatchLinks(BaseModel):
    """Where to go on."""

    self: str
    images: str
    jobs: str
    cancel: str


class BatchOut(BaseModel):
    """A batch. Its counts are read off its jobs, so they cannot disagree with them."""

    id: str = Field(examples=["bat_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    name: str | None
    created_at: datetime
    total: int
    counts: dict[JobState, int]
    progress: float = Field(ge=0, le=1)
    is_done: bool = Field(description="Whether every job has ended, in whatever way.")
    links: BatchLinks


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[BatchOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class BatchMember(BaseModel):
    """A picture that was taken into a batch."""

    name: str
    image_id: str
    job_id: str


class RejectedFile(BaseModel):
    """A file that was not taken, and why."""

    name: str
    code: str = Field(examples=["picture_truncated"])
    message: str


class SubmittedBatch(BatchOut):
    """A batch with what was taken and what was not."""

    images: list[BatchMember]
    rejected: list[RejectedFile]


class CancelledBatch(BatchOut):
    """A batch after its jobs were cancelled."""

    cancelled: int = Field(description="Jobs that ended at once.")
    stopping: int = Field(description="Jobs that run and end at their next step.")


def to_out(batch: Batch, counts: BatchCounts) -> BatchOut:
    """The batch as it looks over HTTP."""
    own = address(f"/v1/batches/{batch.id}")
    return BatchOut(
        id=batch.id,
        owner=batch.owner,
        name=batch.name,
        created_at=batch.created_at,
        total=counts.total,
        counts=counts.by_state,
        progress=min(max(counts.progress, 0.0), 1.0),
        is_done=counts.is_done,
        links=BatchLinks(
            self=own,
            images=address(f"/v1/images?batch_id={batch.id}"),
            jobs=address(f"/v1/jobs?batch_id={batch.id}"),
            cancel=f"{own}/cancel",
        ),
    )
