"""How many encodes of a process may hold a full picture and use a core at a time, however many wait for a model."""

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from codec.errors import Cancelled

_GLANCE_SECONDS = 0.2


class PictureSemaphore:
    """A bounded number of places; a picture of 100 megapixels takes 300 MB, and several times that at work."""

    def __init__(self, count: int = 0) -> None:
        """`count` 0 makes as many as there are cores for this process."""
        self.count = count or cores()
        self._free = threading.BoundedSemaphore(self.count)

    @contextmanager
    def one(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Hold a place for the block, after waiting for it; raises Cancelled."""
        while not self._free.acquire(timeout=_GLANCE_SECONDS):
            if cancelled():
                raise Cancelled("Stopped while waiting for a core.")
        try:
            yield
        finally:
            self._free.release()


def cores() -> int:
    """Cores that this process may use: of the machine, of its affinity, of its container's quota; at least 1."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return usable
    return usable if quota == "max" else max(1, min(usable, math.ceil(int(quota) / int(period))))
