"""The Batch API: many pictures in one file, within 24 hours, at half the price. Keeps no state of its own.

A caller that survives restarts writes down the file id after `upload` and the batch id after `create`; `create` may
be called again with the same file id and finds the batch that was made already.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from PIL import Image

from codec.encode.describe.lmm.ports import Answer
from codec.encode.describe.lmm.server import LMMServer
from codec.errors import DescriberError

MAX_LINES = 50_000
"""Requests in one batch (OpenAI's limit)."""

MAX_FILE_BYTES = 200_000_000
"""Bytes of one batch's file (OpenAI's limit)."""

BATCH_PRICE = 0.5
"""Share of the ordinary price that a batch costs."""


class BatchState(StrEnum):
    """Where a batch stands. Every state but pending is final."""

    PENDING = "pending"
    """It is being checked, worked on or cancelled."""
    SUCCEEDED = "succeeded"
    """Every request has been tried; some may have failed."""
    FAILED = "failed"
    """The file was refused; nothing was done."""
    EXPIRED = "expired"
    """The 24 hours are over; there are results of the requests that were done in time."""
    CANCELLED = "cancelled"
    """It was cancelled; there may be results of what was done before."""


@dataclass(frozen=True)
class BatchLine:
    """One request. `key` is its custom_id; `data` ends with a newline; `tokens` and `cost` are what to reserve."""

    key: str
    data: bytes
    tokens: int
    cost: float


@dataclass(frozen=True)
class BatchStatus:
    """What the server says of a batch; the counts are of requests."""

    batch_id: str
    state: BatchState
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    message: str = ""


def lines_that_fit(sizes_bytes: Iterable[int]) -> int:
    """How many of these lines, from the first on, one batch may hold."""
    raise NotImplementedError


class OpenAIBatches:
    """Batches of one server; any number of threads may call it. Every call raises DescriberError children
    (DescriberUnavailable: try again later) and Cancelled."""

    def __init__(self, server: LMMServer) -> None:
        """Raises DescriberMisconfigured without a key where one is needed."""

    def line(self, picture: Image.Image) -> BatchLine:
        """The request for one picture. Its key is the one that OpenAIDescriber has for the same picture."""
        raise NotImplementedError

    def upload(self, lines: Iterable[bytes], cancelled: Callable[[], bool]) -> str:
        """Upload lines as a file; returns the file id. Raises ValueError when they do not fit in one batch."""
        raise NotImplementedError

    def create(self, file_id: str, cancelled: Callable[[], bool]) -> str:
        """Have the file worked on; returns the batch id, of the batch that exists already for this file if so."""
        raise NotImplementedError

    def poll(self, batch_id: str, cancelled: Callable[[], bool]) -> BatchStatus:
        """Where the batch stands."""
        raise NotImplementedError

    def results(
        self, status: BatchStatus, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[str, Answer | DescriberError]]:
        """Key and answer, or what went wrong, of every request that the server has a result of; `dict()` takes it.
        Requests without a result (expired, cancelled) may be missing."""
        raise NotImplementedError

    def cancel(self, batch_id: str, cancelled: Callable[[], bool]) -> None:
        """Ask the server to stop; poll until the state is final."""
        raise NotImplementedError

    def discard(self, file_ids: Iterable[str], cancelled: Callable[[], bool]) -> None:
        """Delete files on the server; files that are gone already are no error."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection; requests under way end."""
