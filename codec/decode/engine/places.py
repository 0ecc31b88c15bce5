"""Places for requests: a bound on the pictures whose pixels are in memory at a time, given to who is waited for most.

Interactive requests go before bulk ones, earlier deadlines before later ones and before none, else who came first; and
whoever has waited long goes before all who came later.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from codec.decode.engine.turns import Priority, Urgency
from codec.errors import Cancelled
from codec.interruptible import GLANCE_SECONDS

_PATIENCE_SECONDS = 120.0
"""Longer than most pictures take, so that it is seldom that bulk work goes before somebody who waits."""


@dataclass(eq=False)
class _Waiter:
    since: float
    urgency: Callable[[], Urgency]

    def rank(self, now: float) -> tuple[int, bool, float]:
        """The lowest goes first."""
        urgency = self.urgency()
        if now - self.since > _PATIENCE_SECONDS:
            return 0, False, self.since
        group = 1 if urgency.priority is Priority.INTERACTIVE else 2
        if urgency.deadline is not None and urgency.deadline > now:
            return group, False, urgency.deadline
        return group, True, self.since


class Places:
    """Pixels that may be in memory. Safe for many threads."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._waiting: list[_Waiter] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(
        self, pixels: int, is_cancelled: Callable[[], bool], urgency: Callable[[], Urgency] = Urgency
    ) -> Iterator[None]:
        """Wait for room, and keep it for the block. A picture larger than all places together gets all of them.

        `urgency` is asked again while it waits. Raises Cancelled.
        """
        pixels = min(pixels, self._all)
        with self._changed:
            self._enter(pixels, is_cancelled, _Waiter(time.monotonic(), urgency))
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()

    def _enter(self, pixels: int, is_cancelled: Callable[[], bool], waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        try:
            # Nobody smaller slips past the first: else a large picture would wait for as long as small ones come.
            while self._free < pixels or self._first() is not waiter:
                if is_cancelled():
                    raise Cancelled("The decode was stopped before its turn came.")
                self._changed.wait(GLANCE_SECONDS)
            self._free -= pixels
        finally:
            self._waiting.remove(waiter)
            self._changed.notify_all()

    def _first(self) -> _Waiter:
        now = time.monotonic()
        return min(self._waiting, key=lambda waiter: waiter.rank(now))
