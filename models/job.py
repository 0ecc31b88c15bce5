"""Work to be done, and how it stands. The database is the truth; a queue message only wakes a worker."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Boolean, Float, ForeignKey, Index, Integer, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, JSONObject, new_id, text_enum, utc_now
from models.owner import Owned, owner_index


class JobState(StrEnum):
    """`queued -> running -> succeeded | failed | cancelled`; a lost or retried job goes back to queued."""

    QUEUED = "queued"
    """Waiting for a worker, or for its next attempt."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUCCEEDED = "succeeded"
    """Its result is recorded."""
    FAILED = "failed"
    """It ended with an error code and will not be tried again."""
    CANCELLED = "cancelled"
    """A cancel request ended it."""

    @property
    def is_final(self) -> bool:
        """True when nothing will change any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobKind(StrEnum):
    """What a job does."""

    ENCODE = "encode"
    """Turn an original into a stream."""
    DECODE = "decode"
    """Turn a stream into a reconstruction."""
    PROBE = "probe"
    """Nothing: shows that a queue is consumed and results are recorded."""


class JobPriority(StrEnum):
    """How urgent a job is."""

    INTERACTIVE = "interactive"
    """Somebody waits for it."""
    BULK = "bulk"
    """One of many for which nobody waits; every fourth claim takes one of these first."""


def _where_set(name: str, column: str) -> Index:
    condition = text(f"{column} IS NOT NULL")
    return Index(name, column, postgresql_where=condition, sqlite_where=condition)


class Job(Owned, Base):
    """A job. Its lease names the claim, not the worker: a worker that lost its lease can no longer record."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("job"))
    kind: Mapped[JobKind] = mapped_column(text_enum(JobKind))
    queue: Mapped[str] = mapped_column(String(24))
    state: Mapped[JobState] = mapped_column(text_enum(JobState), default=JobState.QUEUED)
    image_id: Mapped[str | None] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    reconstruction_id: Mapped[str | None] = mapped_column(ForeignKey("reconstructions.id", ondelete="CASCADE"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    priority: Mapped[JobPriority] = mapped_column(
        text_enum(JobPriority), default=JobPriority.INTERACTIVE, server_default=JobPriority.INTERACTIVE.value
    )

    deadline: Mapped[datetime | None] = mapped_column()
    """When its result is wanted, where whoever ordered it said so."""

    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=3)
    due_at: Mapped[datetime] = mapped_column(default=utc_now)
    woken_at: Mapped[datetime] = mapped_column(default=utc_now)
    worker: Mapped[str | None] = mapped_column(String(48))
    lease_token: Mapped[str | None] = mapped_column(String(80))
    lease_expires_at: Mapped[datetime | None] = mapped_column()
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)

    at_work: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether the attempt does what may kill a process, and does not only wait for its turn."""
    is_suspect: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether a worker died while it was at work. A suspect works alone in its process."""
    pauses: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How often in a row it was put off for a fault of its surroundings; the next pause is longer."""
    paused_since: Mapped[datetime | None] = mapped_column()
    """When the fault that it was last put off for was first met."""

    stage: Mapped[str | None] = mapped_column(String(40))
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(String(1000))
    seconds: Mapped[JSONObject | None] = mapped_column(JSON)
    usage: Mapped[JSONObject | None] = mapped_column(JSON(none_as_null=True))
    request_id: Mapped[str | None] = mapped_column(String(64))
    trace_parent: Mapped[str | None] = mapped_column(String(55))
    """The span of the request that ordered it, as in the header `traceparent`; null where nothing is traced."""

    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        owner_index("jobs"),
        # A job changes three times in its life; columns that are empty cost nothing then.
        *(_where_set(f"ix_jobs_{column}", column) for column in ("image_id", "reconstruction_id", "batch_id")),
        # Jobs that failed are the few that an operator looks for, by their code.
        Index(
            "ix_jobs_error_code",
            "error_code",
            "id",
            postgresql_where=text("error_code IS NOT NULL"),
            sqlite_where=text("error_code IS NOT NULL"),
        ),
        # Counting and scanning what waits or runs must not slow down with the millions that have ended. SQLite
        # cannot prove that a bound value meets a partial index's condition, so there the index holds every job.
        Index(
            "ix_jobs_open",
            "queue",
            "state",
            "id",
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        # A claim reads one entry of this, however many jobs wait, are deferred or have ended.
        Index(
            "ix_jobs_due",
            "queue",
            "priority",
            "due_at",
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        # And one of this, for those that are wanted by an instant; few are.
        Index(
            "ix_jobs_wanted",
            "queue",
            "priority",
            "deadline",
            postgresql_where=text("state = 'queued' AND deadline IS NOT NULL"),
            sqlite_where=text("state = 'queued' AND deadline IS NOT NULL"),
        ),
    )
