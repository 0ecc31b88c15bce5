"""Resident memory of the APIs, watched from a thread."""

import contextlib
import resource
import threading
import time
from pathlib import Path

from bench.chaos.stack import FullStack

_SETTLE_SECONDS = 15.0
"""Memory is compared with what it is after so long, when every pool is filled."""


class MemoryWatch:
    """MiB of all APIs together: once they have settled, and at most from then on."""

    def __init__(self, stack: FullStack) -> None:
        self._stack = stack
        self.settled_mib = self.largest_mib = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._over.wait(1.0):
            present = sum(self._resident_bytes(name) for name in self._stack.names("api")) / 2**20
            if time.monotonic() - started < _SETTLE_SECONDS:
                self.settled_mib = present
            self.largest_mib = max(self.largest_mib, present)

    def _resident_bytes(self, name: str) -> int:
        pid = self._stack.pid(name)
        with contextlib.suppress(OSError):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        return 0
