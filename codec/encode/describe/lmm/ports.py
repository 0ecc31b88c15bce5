"""What describing by a model needs from its surroundings: a book of bought answers, and a pace to keep.

The codec knows neither Redis nor SQL. The service passes in implementations shared by all its workers, the command
line its own of files; the ones here keep everything in memory, for one process.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from codec.description import Description
from codec.errors import Cancelled


@dataclass(frozen=True)
class Usage:
    """What one answer cost when it was bought. `seconds` is the latency of that request, waiting excluded.

    `cached` says that it was bought before, so that this time nothing was paid.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost: float
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class Answer:
    """A description that was bought, trimmed to the limits already, and what it cost."""

    description: Description
    usage: Usage


def as_cached(answer: Answer) -> Answer:
    """The same answer, bought before."""
    return replace(answer, usage=replace(answer.usage, cached=True))


class AnswerBook(Protocol):
    """Keeps bought answers by key, and lets one caller at a time buy the answer of a key."""

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """The kept answer, marked as cached; or None: this caller is the one who buys it and must `keep` or `release`.

        While another caller is buying it, waits; a buyer that died is replaced after a while. Raises Cancelled.
        """

    def keep(self, key: str, answer: Answer) -> None:
        """Write the answer down for ever, before anything else is done with it."""

    def release(self, key: str) -> None:
        """Give the claim up: nothing was bought."""


class Pace(Protocol):
    """Limits requests and tokens a minute, and money, over everybody who shares it."""

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "Reservation":
        """Wait for the turn of one request of about `tokens` tokens and at most `cost`.

        Raises BudgetExhausted when the cost would pass the spending cap, Cancelled when told to stop.
        """

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for this long: the server said so."""


class Reservation(Protocol):
    """One request's share of the limits; exactly one of the two is called when the request has ended."""

    def settle(self, tokens: int, cost: float) -> None:
        """The request was answered, and this is what it truly used."""

    def cancel(self) -> None:
        """The request used nothing that is paid for; its turn stays taken."""


class MemoryBook:
    """Answers of one process; claims are real, so that two threads do not buy the same one."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._buying: set[str] = set()
        self._changed = threading.Condition()

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """See AnswerBook."""
        with self._changed:
            while key in self._buying:
                if cancelled():
                    raise Cancelled("Stopped while another thread was buying the same description.")
                self._changed.wait(0.2)
            if key in self._answers:
                return as_cached(self._answers[key])
            self._buying.add(key)
            return None

    def keep(self, key: str, answer: Answer) -> None:
        """See AnswerBook."""
        with self._changed:
            self._answers[key] = answer
            self._buying.discard(key)
            self._changed.notify_all()

    def release(self, key: str) -> None:
        """See AnswerBook."""
        with self._changed:
            self._buying.discard(key)
            self._changed.notify_all()


class UnlimitedPace:
    """No limit but the pauses that a server asks for."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "UnlimitedPace":
        """See Pace."""
        while (left := self._paused_until - time.monotonic()) > 0:
            if cancelled():
                raise Cancelled("Stopped while waiting for the language model's server.")
            time.sleep(min(left, 0.2))
        return self

    def pause(self, seconds: float) -> None:
        """See Pace."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def settle(self, tokens: int, cost: float) -> None:
        """Nothing is counted."""

    def cancel(self) -> None:
        """Nothing is counted."""
