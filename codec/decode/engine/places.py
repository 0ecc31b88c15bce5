"""Places for requests: a bound on the pictures whose pixels are in memory at a time, first come, first served."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codec.errors import Cancelled
from codec.interruptible import GLANCE_SECONDS


class Places:
    """Pixels that may be in memory. Safe for many threads."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait for room, and keep it for the block. A picture larger than all places together gets all of them.

        Raises Cancelled.
        """
        pixels = min(pixels, self._all)
        with self._changed:
            self._enter(pixels, is_cancelled)
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()

    def _enter(self, pixels: int, is_cancelled: Callable[[], bool]) -> None:
        mine = object()
        self._queue.append(mine)
        try:
            while self._queue[0] is not mine or self._free < pixels:
                if is_cancelled():
                    raise Cancelled("The decode was stopped before its turn came.")
                self._changed.wait(GLANCE_SECONDS)
            self._free -= pixels
        finally:
            self._queue.remove(mine)
            self._changed.notify_all()
