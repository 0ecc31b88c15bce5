"""Holds work back that would meet a dependency which is known to be away, and lets one try now and then.

Written here because what is held back are not calls but the claims of jobs, which wait for their turn and do not fail.
"""

import threading
import time
from collections.abc import Callable

from core.logging import get_logger

_log = get_logger(__name__)

_FAILURES = 3
"""So many failures in a row, of any threads, open it: one may be an accident."""

_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 8.0
"""Between two tries: doubled up to a time that is short against the outage that it takes to get there."""


class Breaker:
    """Closed while a dependency answers; one for a dependency and process, called from many threads."""

    def __init__(self, dependency: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds and never goes back."""
        self._dependency, self._clock = dependency, clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._is_open = self._was_open = False
        self._try_at = self._wait_seconds = 0.0
        self.failures = 0
        """All that were recorded."""

    def admits(self) -> bool:
        """Whether work may begin: always while it is closed, and one time now and then while it is open."""
        with self._lock:
            if not self._is_open:
                return True
            now = self._clock()
            if now < self._try_at:
                return False
            self._wait_seconds = min(self._wait_seconds * 2, _LONGEST_SECONDS)
            self._try_at = now + self._wait_seconds
            return True

    def record_failure(self) -> None:
        """The dependency did not answer, or refused."""
        with self._lock:
            self.failures += 1
            self._in_a_row += 1
            if self._is_open or self._in_a_row < _FAILURES:
                return
            self._is_open, self._wait_seconds = True, _FIRST_SECONDS
            self._try_at = self._clock() + self._wait_seconds
        _log.warning("breaker_opened", dependency=self._dependency)

    def record_success(self) -> None:
        """The dependency did what it was asked."""
        with self._lock:
            self._in_a_row = 0
            if not self._is_open:
                return
            self._is_open, self._was_open = False, True
        _log.info("breaker_closed", dependency=self._dependency)

    def take_recovery(self) -> bool:
        """True once after the dependency came back, for whoever sees to what waits for it."""
        with self._lock:
            recovered, self._was_open = self._was_open, False
        return recovered
