"""Refuses new jobs while a queue is full, at a cost that does not grow with the queue."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.database import Database
from core.errors import LimitReached
from core.jobs import queries

_COUNT_SECONDS = 1.0
"""How old a count may be: one count a second costs little, however many submit."""


@dataclass
class _Count:
    open_jobs: int
    counted_at: float


class QueueLimit:
    """Lets jobs into a queue up to a number that are open at a time; other processes are noticed within a second."""

    def __init__(self, database: Database, max_open: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._max_open, self._clock = database, max_open, clock
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def admit(self, queue: str, jobs: int = 1, *, spare: int = 0) -> None:
        """Note that so many jobs are about to be submitted; raises LimitReached, also when the limit is `spare` more.

        What is admitted and not submitted counts until the next look at the database.
        """
        with self._lock:
            self._with_room(queue, jobs, self._max_open + spare).open_jobs += jobs

    def check(self, queue: str) -> None:
        """Raise LimitReached where no job would be admitted now; for the time before a job's picture is read."""
        with self._lock:
            self._with_room(queue, 1, self._max_open)

    def _with_room(self, queue: str, jobs: int, limit: int) -> _Count:
        count = self._counts.get(queue)
        if count is None or self._clock() - count.counted_at > _COUNT_SECONDS:
            count = self._counts[queue] = _Count(self._count(queue, limit), self._clock())
        if count.open_jobs + jobs > limit:
            raise LimitReached(
                f"The queue {queue!r} is full: {self._max_open} jobs wait or run. Try again when some have ended."
            )
        return count

    def _count(self, queue: str, at_most: int) -> int:
        with self._database.read() as session:
            return queries.count_open_of(session, queue, at_most)
