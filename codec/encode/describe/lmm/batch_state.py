"""What a batch is made of and where it stands, as values; asks no server."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from codec.encode.describe.lmm.failures import quote

MAX_LINES = 50_000
"""Requests in one batch (OpenAI's limit)."""

MAX_FILE_BYTES = 200_000_000
"""Bytes of one batch's file (OpenAI's limit of 200 MB)."""

BATCH_PRICE = 0.5
"""Share of the ordinary price that a batch costs."""

_MAX_ID_CHARS = 200


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


_FINAL = {
    "completed": BatchState.SUCCEEDED,
    "failed": BatchState.FAILED,
    "expired": BatchState.EXPIRED,
    "cancelled": BatchState.CANCELLED,
}


@dataclass(frozen=True)
class BatchLine:
    """One request. `key` is its custom_id; `data` ends with a newline; `tokens` and `cost` are what to reserve."""

    key: str
    data: bytes
    tokens: int
    cost: float


@dataclass(frozen=True)
class BatchStatus:
    """What the server says of a batch; the counts are of requests. `message` says why it failed."""

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
    count = total_bytes = 0
    for size_bytes in sizes_bytes:
        total_bytes += size_bytes
        if count == MAX_LINES or total_bytes > MAX_FILE_BYTES:
            break
        count += 1
    return count


def read_status(batch_id: str, body: object, secret: str) -> BatchStatus:
    """A batch as the server shows it; what is missing or of another type reads as nothing. `secret` is not quoted."""
    batch = body if isinstance(body, dict) else {}
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    numbers = [counts.get(name) for name in ("total", "completed", "failed")]
    total, completed, failed = (number if type(number) is int and number >= 0 else 0 for number in numbers)
    files = [batch.get(name) for name in ("output_file_id", "error_file_id")]
    output, error = (name if isinstance(name, str) and 0 < len(name) <= _MAX_ID_CHARS else None for name in files)
    state = _FINAL.get(str(batch.get("status")), BatchState.PENDING)
    message = _first_error(batch.get("errors"), secret) if state is BatchState.FAILED else ""
    return BatchStatus(batch_id, state, total, completed, failed, output, error, message)


def _first_error(errors: object, secret: str) -> str:
    entries = errors.get("data") if isinstance(errors, dict) else None
    first = entries[0] if isinstance(entries, list) and entries else None
    return quote(first.get("message", ""), secret) if isinstance(first, dict) else ""
