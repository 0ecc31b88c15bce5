"""A cache of answers and a rate limiter that hold for one process and forget everything with it."""

import threading
import time
from collections.abc import Callable

from codec.errors import Cancelled
from codec.language_model import Answer


class MemoryCache:
    """Answers of one process; claims are real, so that two threads do not buy the same one."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._buying: set[str] = set()
        self._changed = threading.Condition()

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """See AnswerCache."""
        with self._changed:
            while key in self._buying:
                if cancelled():
                    raise Cancelled("Stopped while another thread was buying the same description.")
                self._changed.wait(0.2)
            if key in self._answers:
                return self._answers[key].as_cached()
            self._buying.add(key)
            return None

    def store(self, key: str, answer: Answer) -> None:
        """See AnswerCache."""
        with self._changed:
            self._answers[key] = answer
            self._buying.discard(key)
            self._changed.notify_all()

    def release(self, key: str) -> None:
        """See AnswerCache."""
        with self._changed:
            self._buying.discard(key)
            self._changed.notify_all()


class UnlimitedLimiter:
    """No limit but the pauses that a server asks for."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "UnlimitedLimiter":
        """See RateLimiter."""
        while (left := self._paused_until - time.monotonic()) > 0:
            if cancelled():
                raise Cancelled("Stopped while waiting for the language model's server.")
            time.sleep(min(left, 0.2))
        return self

    def pause(self, seconds: float) -> None:
        """See RateLimiter."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def settle(self, tokens: int, cost: float) -> None:
        """Nothing is counted."""

    def cancel(self) -> None:
        """Nothing is counted."""
