"""Describing by a multimodal model, as values and ports: what the codec, which asks, and the service, which remembers
and pays, have to agree on. Sends nothing and keeps nothing itself.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, Protocol

from codec.description import Description
from codec.errors import DescriberError
from codec.usage import Usage

MAX_BATCH_REQUESTS = 50_000
"""Requests in one batch (OpenAI's limit)."""

MAX_BATCH_BYTES = 200_000_000
"""Bytes of one batch's file (OpenAI's limit of 200 MB)."""

Detail = Literal["low", "high", "auto"]
"""How finely an OpenAI model looks at the picture; other servers ignore it."""


class AnswerForm(StrEnum):
    """How the server is asked to keep to the form of an answer. Our own code checks the answer in every case."""

    AUTO = "auto"
    """The strictest form that the server takes, found out with the first picture."""
    JSON_SCHEMA = "json_schema"
    """The answer follows a schema: OpenAI, vLLM, llama.cpp, Ollama from 0.5."""
    JSON_OBJECT = "json_object"
    """The answer is some JSON object; the prompt says which."""
    TEXT = "text"
    """Nothing but the prompt says it."""


@dataclass(frozen=True)
class LMMServer:
    """An OpenAI-compatible server and one of its models.

    `base_url` None is OpenAI's own, which wants an `api_key`. Prices are per million tokens, in any one currency;
    0 means unknown or free. `attempts` counts requests for one description that fail in passing.
    """

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str = "gpt-5.4-mini"
    detail: Detail = "low"
    timeout_seconds: float = 60.0
    longest_edge_px: int = 768
    answer_form: AnswerForm = AnswerForm.AUTO
    attempts: int = 5
    price_input: float = 0.0
    price_output: float = 0.0
    max_output_tokens: int = 500
    longest_wait_seconds: float = 120.0


@dataclass(frozen=True)
class Answer:
    """A description that was bought, trimmed to the limits already, what it cost, and what is to be known of it."""

    description: Description
    usage: Usage
    notes: tuple[str, ...] = ()

    def as_cached(self) -> "Answer":
        """The same answer, bought before."""
        return replace(self, usage=replace(self.usage, cached=True))


class AnswerCache(Protocol):
    """Keeps answers by key, and lets one caller at a time buy the answer of a key."""

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """The cached answer, marked as such; or None: this caller buys it and must `store` it or `release` the claim.

        While another caller is buying it, waits; a buyer that died is replaced after a while. Raises Cancelled.
        """

    def store(self, key: str, answer: Answer) -> None:
        """Write the answer down for ever, before anything else is done with it."""

    def release(self, key: str) -> None:
        """Give the claim up: nothing was bought."""


class Permit(Protocol):
    """One request's share of the limits; exactly one of the two is called when the request has ended."""

    def settle(self, tokens: int, cost: float) -> None:
        """The request was answered, and this is what it truly used."""

    def cancel(self) -> None:
        """The request used nothing that is paid for; its place in the limits stays taken."""


class RateLimiter(Protocol):
    """Limits requests and tokens a minute, and money, over everybody who shares it."""

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> Permit:
        """Wait until one request of about `tokens` tokens and at most `cost` may be sent.

        Raises BudgetExhausted when the cost would pass the spending cap, Cancelled when told to stop.
        """

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for this long, by order of the server."""


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


class BatchAPI(Protocol):
    """The Batch API of one server. Every call raises DescriberError children (DescriberUnavailable: try again later)
    and Cancelled."""

    def upload(self, lines: Iterable[bytes], cancelled: Callable[[], bool]) -> str:
        """Upload requests as a file; returns the file id. Raises DescriptionUnusable for no lines."""

    def create(self, file_id: str, cancelled: Callable[[], bool]) -> str:
        """Have the file worked on; returns the batch id, of the batch that exists already for this file if so."""

    def poll(self, batch_id: str, cancelled: Callable[[], bool]) -> BatchStatus:
        """Where the batch stands."""

    def results(
        self, status: BatchStatus, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[str, Answer | DescriberError]]:
        """Key and answer, or what went wrong, of every request that the server has a result of."""

    def discard(self, file_ids: Iterable[str], cancelled: Callable[[], bool]) -> None:
        """Delete files on the server; files that are gone already are no error."""


def requests_that_fit(sizes_bytes: Iterable[int]) -> int:
    """How many of these requests, from the first on, one batch may hold."""
    count = total_bytes = 0
    for size_bytes in sizes_bytes:
        total_bytes += size_bytes
        if count == MAX_BATCH_REQUESTS or total_bytes > MAX_BATCH_BYTES:
            break
        count += 1
    return count
