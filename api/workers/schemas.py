"""How a worker process looks over HTTP."""

from datetime import datetime

from pydantic import BaseModel, Field

from core.jobs.workers import WorkerState
from models.worker import Worker


class WorkerOut(BaseModel):
    """A worker process, as it told of itself last."""

    id: str = Field(examples=["wrk_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    name: str = Field(description="What its jobs have in `worker`.", examples=["encode@host:4711"])
    state: WorkerState = Field(
        description="`alive`; `draining` while it finishes its jobs and takes no others, `drained` when it has; `lost` "
        "when it did not tell of itself for 20 seconds."
    )
    queues: list[str]
    threads: int = Field(description="Jobs that it can have under way.")
    running: int = Field(description="Jobs that it has under way.")
    version: str
    started_at: datetime
    seen_at: datetime


class WorkerList(BaseModel):
    """All worker processes, those that were started last first. Lost ones are listed for an hour."""

    items: list[WorkerOut]


def to_out(worker: Worker, state: WorkerState) -> WorkerOut:
    """The worker as it looks over HTTP."""
    return WorkerOut(
        id=worker.id,
        name=worker.name,
        state=state,
        queues=worker.queues,
        threads=worker.threads,
        running=worker.running,
        version=worker.version,
        started_at=worker.started_at,
        seen_at=worker.seen_at,
    )
