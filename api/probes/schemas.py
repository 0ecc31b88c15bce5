"""How a probe looks over HTTP."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.schemas import JobLinks
from models.job import JobKind, JobState


class ProbeOptions(BaseModel):
    """The body of a probe."""

    model_config = ConfigDict(extra="forbid")

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
