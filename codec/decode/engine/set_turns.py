"""Turns of sets of networks: one set at a time is used, and none is evicted while others still want it.

A device holds one large set. Requests for another wait until the present one is free; once they have waited long, no
further request for the present set is let in before them.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from codec.errors import Cancelled
from codec.interruptible import GLANCE_SECONDS

_PATIENCE_SECONDS = 20.0
"""Several times what it takes to load a set, so that loading stays a small part of the time."""


@dataclass(eq=False)
class _Waiter:
    key: Hashable
    since: float


class SetTurns:
    """Who may use a set of networks now. Safe for many threads."""

    def __init__(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """`patience_seconds`: for so long requests for the present set go before those that wait for another."""
        self._patience_seconds = patience_seconds
        self._present: Hashable = None
        self._users = 0
        self._waiting: list[_Waiter] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(self, key: Hashable, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait until the set of this key may be used, and use it for the block; raises Cancelled."""
        with self._changed:
            self._enter(key, is_cancelled)
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _enter(self, key: Hashable, is_cancelled: Callable[[], bool]) -> None:
        waiter = _Waiter(key, time.monotonic())
        self._waiting.append(waiter)
        try:
            while self._next_key() != key:
                if is_cancelled():
                    raise Cancelled("The decode was stopped before its networks were free.")
                self._changed.wait(GLANCE_SECONDS)
            self._present = key
            self._users += 1
        finally:
            self._waiting.remove(waiter)
            self._changed.notify_all()

    def _next_key(self) -> Hashable:
        """The set that waiting requests may use now; None when all have to wait."""
        others = [waiter for waiter in self._waiting if waiter.key != self._present]
        latest = time.monotonic() - self._patience_seconds
        is_overdue = any(waiter.since <= latest for waiter in others)
        if len(others) < len(self._waiting) and not is_overdue:
            return self._present
        return others[0].key if others and not self._users else None
