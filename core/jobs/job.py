"""Jobs as values that are handed through whole: what is ordered, the right to do one attempt, and its renewal."""

from dataclasses import dataclass
from datetime import datetime

from models.job import JobKind, JobPriority
from models.owner import DEFAULT_OWNER


@dataclass(frozen=True)
class JobSpec:
    """An order for a job: what it does, for which rows, in whose name and on behalf of which request, how often it is
    tried, how urgent it is and when it is wanted."""

    kind: JobKind
    queue: str
    image_id: str | None = None
    reconstruction_id: str | None = None
    batch_id: str | None = None
    request_id: str | None = None
    max_attempts: int = 3
    owner: str = DEFAULT_OWNER
    priority: JobPriority = JobPriority.INTERACTIVE
    deadline: datetime | None = None
    trace_parent: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to do one attempt of a job. Whoever holds an older token can record nothing.

    `kind` is a JobKind and `priority` a JobPriority, or what a newer version of the service calls one of its own.
    """

    job_id: str
    kind: str
    token: str
    attempt: int
    max_attempts: int
    image_id: str | None
    reconstruction_id: str | None
    request_id: str | None
    is_suspect: bool = False
    """A worker died while this job was at work: it works alone in its process."""
    pauses: int = 0
    """How often it was put off before for a fault of its surroundings."""
    priority: str = JobPriority.INTERACTIVE
    owner: str = DEFAULT_OWNER
    trace_parent: str | None = None
    """The span of the request that ordered it; see `core.tracing`."""
    deadline: datetime | None = None

    @property
    def is_last_attempt(self) -> bool:
        """True when a failure of this attempt is final."""
        return self.attempt >= self.max_attempts


@dataclass(frozen=True)
class Renewal:
    """A claim whose lease is to be prolonged, and how far its job is: `progress` is in [0, 1]."""

    claim: Claim
    stage: str | None
    progress: float
    at_work: bool = False


@dataclass(frozen=True)
class Wishes:
    """What is wanted of a running job by now: that it stops, and how urgently it is waited for, which others may have
    changed since its claim."""

    cancel_requested: bool
    priority: str = JobPriority.INTERACTIVE
    deadline: datetime | None = None


@dataclass(frozen=True)
class HeldLease:
    """A running job as the database has it: its claim, when that was last renewed, and whether it is at work."""

    claim: Claim
    renewed: datetime | None
    at_work: bool
