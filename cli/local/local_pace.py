"""How fast one process may ask a language model: the limits of the service's pace, without its Redis."""

import threading
import time
from collections import deque
from collections.abc import Callable

from codec.errors import Cancelled
from core.describing.budget import Budget, Reservation

_WINDOW_SECONDS, _LOOK_SECONDS = 62.0, 0.2
"""A minute and what a request may take to arrive; how often somebody who waits looks whether to stop."""


class LocalRateLimiter:
    """The codec's Pace for the threads of one process: requests and tokens in any minute, pauses, money."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int, ledger: Budget | None) -> None:
        """0 is no limit."""
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._ledger = ledger
        self._turns: deque[_Turn] = deque()
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "_Turn":
        """See Pace. A request of more tokens than a minute allows is sent when nothing else was sent for a minute."""
        reserved = None if self._ledger is None else self._ledger.reserve(cost, cancelled)
        try:
            while (turn := self._try(tokens, reserved)) is None:
                if cancelled():
                    raise Cancelled("Stopped while waiting for a turn at the language model.")
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            if self._ledger is not None and reserved is not None:
                self._ledger.settle(reserved, 0.0)
            raise
        return turn

    def pause(self, seconds: float) -> None:
        """See Pace."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _try(self, tokens: int, reserved: Reservation | None) -> "_Turn | None":
        with self._lock:
            now = time.monotonic()
            while self._turns and self._turns[0].began <= now - _WINDOW_SECONDS:
                self._turns.popleft()
            used = sum(turn.tokens for turn in self._turns)
            is_full = bool(self._requests) and len(self._turns) >= self._requests
            is_spent = bool(self._tokens) and bool(self._turns) and used + tokens > self._tokens
            if now < self._paused_until or is_full or is_spent:
                return None
            turn = _Turn(now, tokens, reserved, self._ledger)
            self._turns.append(turn)
            return turn


class _Turn:
    """One request's share of the limits."""

    def __init__(self, began: float, tokens: int, reserved: Reservation | None, ledger: Budget | None) -> None:
        self.began, self.tokens = began, tokens
        self._reserved, self._ledger = reserved, ledger

    def settle(self, tokens: int, cost: float) -> None:
        """See Reservation."""
        self.tokens = tokens
        self._pay(cost)

    def cancel(self) -> None:
        """See Reservation."""
        self._pay(0.0)

    def _pay(self, cost: float) -> None:
        if self._ledger is not None and self._reserved is not None:
            self._ledger.settle(self._reserved, cost)
