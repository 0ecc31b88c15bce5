"""How a job looks over HTTP."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from api.root_path import address
from codec.strict_json import Instant
from models.base import JSONObject
from models.job import Job, JobKind, JobPriority, JobState

_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 3000))


def _held_by_databases(instant: datetime) -> datetime:
    """The instant in UTC; there is none of the first and the last hours of what a calendar has."""
    return min(max(instant, _FIRST), _LAST).astimezone(UTC)


Deadline = Annotated[Instant, AfterValidator(_held_by_databases), Field(examples=["2026-12-01T08:00:00Z"])]
"""When something is wanted."""


class JobError(BaseModel):
    """Why the last attempt failed."""

    code: str | None = Field(examples=["picture_truncated"])
    message: str | None


class UsageOut(BaseModel):
    """What a language model's description cost."""

    model: str
    input_tokens: int
    output_tokens: int
    cost: float = Field(description="In the currency of the configured prices; 0 where none are.")
    seconds: float = Field(description="From the request to its answer.")
    cached: bool = Field(description="Whether it was bought before, so that nothing was paid for this job.")


class JobLinks(BaseModel):
    """Where to go on."""

    self: str
    events: str
    cancel: str
    retry: str
    image: str | None = None
    reconstruction: str | None = None
    batch: str | None = None


class JobOut(BaseModel):
    """A job. `queued -> running -> succeeded | failed | cancelled`; a lost or retried one goes back to `queued`."""

    id: str = Field(examples=["job_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    kind: JobKind
    queue: str = Field(examples=["encode"])
    state: JobState
    priority: JobPriority = Field(description="Whether somebody waits for it, or it is one of many.")
    deadline: datetime | None = Field(description="When it is wanted; null where nobody said so.")
    stage: str | None = Field(description="What the worker is at.", examples=["describe"])
    progress: float = Field(ge=0, le=1)
    queue_position: int | None = Field(
        description="Jobs that wait before this one: of an interactive job the interactive ones before it, of a bulk "
        "job those and the bulk ones before it; 1000 for that many or more, null when it does not wait."
    )
    attempts: int
    max_attempts: int
    worker: str | None = Field(description="Who has or had it last.", examples=["host:4711"])
    cancel_requested: bool
    is_suspect: bool = Field(description="A worker died while it was at work; it works alone from then on.")
    pauses: int = Field(description="How often it was put off for a fault of its surroundings, which is no attempt.")
    error: JobError | None = Field(description="Of the last attempt; null when none failed or a later one succeeded.")
    seconds: dict[str, float] | None = Field(description="What the stages took.")
    usage: UsageOut | None = Field(description="Null while no language model has described the picture.")
    image_id: str | None
    reconstruction_id: str | None
    batch_id: str | None
    request_id: str | None = Field(description="Of the request that ordered it.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: JobLinks


class JobPage(BaseModel):
    """Jobs, newest first. Only single jobs have a queue position."""

    items: list[JobOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class RefusedRetry(BaseModel):
    """A job that cannot be retried, and why."""

    id: str
    detail: str


class RetriedJobs(BaseModel):
    """What became of jobs that failed with one code."""

    retried: list[str] = Field(description="Ids of the jobs that are queued again.")
    refused: list[RefusedRetry]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null when that were all.")


def links_of(
    job_id: str,
    *,
    image_id: str | None = None,
    reconstruction_id: str | None = None,
    batch_id: str | None = None,
) -> JobLinks:
    """The links of a job."""
    own = address(f"/v1/jobs/{job_id}")
    return JobLinks(
        self=own,
        events=f"{own}/events",
        cancel=f"{own}/cancel",
        retry=f"{own}/retry",
        image=image_id and address(f"/v1/images/{image_id}"),
        reconstruction=reconstruction_id and address(f"/v1/reconstructions/{reconstruction_id}"),
        batch=batch_id and address(f"/v1/batches/{batch_id}"),
    )


def usage_to_out(usage: JSONObject | None) -> UsageOut | None:
    """The usage as it looks over HTTP."""
    return None if usage is None else UsageOut.model_validate(usage)


def to_out(job: Job, queue_position: int | None = None) -> JobOut:
    """The job as it looks over HTTP."""
    failed = job.error_code is not None and job.state != JobState.SUCCEEDED
    return JobOut(
        id=job.id,
        owner=job.owner,
        kind=job.kind,
        queue=job.queue,
        state=job.state,
        priority=job.priority,
        deadline=job.deadline,
        stage=job.stage,
        progress=job.progress,
        queue_position=queue_position,
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        worker=job.worker,
        cancel_requested=job.cancel_requested,
        is_suspect=job.is_suspect,
        pauses=job.pauses,
        error=error_to_out(job) if failed else None,
        seconds=job.seconds,
        usage=usage_to_out(job.usage),
        image_id=job.image_id,
        reconstruction_id=job.reconstruction_id,
        batch_id=job.batch_id,
        request_id=job.request_id,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=links_of(job.id, image_id=job.image_id, reconstruction_id=job.reconstruction_id, batch_id=job.batch_id),
    )


_OURS = {
    "storage_unavailable": "The storage did not answer.",
    "storage_denied": "The storage refused the service.",
    "object_not_found": "An object that the job needs is not in the storage.",
    "broker_unavailable": "The queue did not answer.",
    "database_unavailable": "The database did not answer.",
    "internal_error": "The service made a mistake; its log has the details under the job's id.",
}
"""What callers get to read of our faults, whose own texts name addresses and paths, which are the operator's."""


def error_to_out(job: Job) -> JobError:
    """Why the last attempt failed, in words for callers."""
    return JobError(code=job.error_code, message=_OURS.get(job.error_code or "", job.error_message))
