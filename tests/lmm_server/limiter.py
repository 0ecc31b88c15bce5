"""A rate limiter that writes down what was reserved and how it was closed."""

import threading
from collections.abc import Callable

from tests.lmm_server.memory import UnlimitedLimiter


class RecordingLimiter(UnlimitedLimiter):
    """Like UnlimitedLimiter; `reserved` and `closed` hold (tokens, cost), and None for what was cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: list[tuple[int, float]] = []
        self.closed: list[tuple[int, float] | None] = []
        self.pauses: list[float] = []
        self._lock = threading.Lock()

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "RecordingLimiter":
        """See RateLimiter."""
        super().wait(tokens, cost, cancelled)
        with self._lock:
            self.reserved.append((tokens, cost))
        return self

    def pause(self, seconds: float) -> None:
        """See RateLimiter."""
        self.pauses.append(seconds)
        super().pause(seconds)

    def settle(self, tokens: int, cost: float) -> None:
        """See Permit."""
        with self._lock:
            self.closed.append((tokens, cost))

    def cancel(self) -> None:
        """See Permit."""
        with self._lock:
            self.closed.append(None)
