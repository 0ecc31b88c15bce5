"""How an attempt ended: a value for the log and the figures; the database knows by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """What became of an attempt."""

    SUCCEEDED = "succeeded"
    """The result is recorded."""
    FAILED = "failed"
    """The job ended with an error."""
    CANCELLED = "cancelled"
    """A cancel request ended the job."""
    RETRIED = "retried"
    """It failed, and there will be another attempt."""
    PAUSED = "paused"
    """It met a fault of its surroundings, and is tried again without the attempt being counted."""
    DEFERRED = "deferred"
    """It waits for a batch of requests."""
    HANDED_OVER = "handed_over"
    """The process is to stop, and another one goes on."""
    LOST = "lost"
    """Nothing could be recorded: the job was taken back, or the database stayed away."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, with the code of its error and, after a success, the seconds of its stages."""

    outcome: Outcome
    code: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
