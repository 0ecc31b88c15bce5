"""How a probe looks over HTTP."""

from typing import Literal

from pydantic import BaseModel, Field

from api.jobs.schemas import JobLinks
from codec.strict_json import StrictModel
from models.job import JobKind, JobState


class ProbeOptions(StrictModel):
    """The body of a probe."""

    queue: Literal["encode", "decode", "maintenance"] = Field(description="The queue that has to be consumed.")


class ProbeJob(BaseModel):
    """The job in brief; look at it for the rest."""

    id: str
    kind: JobKind = JobKind.PROBE
    queue: str
    state: JobState = JobState.QUEUED
    links: JobLinks


class SubmittedProbe(BaseModel):
    """The job that shows whether the queue is consumed."""

    job: ProbeJob
