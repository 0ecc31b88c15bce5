"""Who is at work in this process: many jobs at a time, or a suspect alone, so that a worker that dies with it accuses
nobody else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codec.errors import Cancelled
from core.jobs.lease import LeasedJob, LeaseKeeper

_GLANCE_SECONDS = 0.2


class Occupancy:
    """Lets jobs in to work; one for a process, called from many threads."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        self._keeper = keeper
        self._changed = threading.Condition()
        self._at_work = 0
        self._suspect_at_work = False
        self._suspects_waiting = 0

    @contextmanager
    def enter(self, job: LeasedJob, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Be at work for the block, and have the database know it before; raises Cancelled, LeaseLost and
        DatabaseUnavailable. What else limits how many may work is to be waited for before."""
        alone = job.claim.is_suspect
        self._wait(alone, cancelled)
        try:
            with self._keeper.at_work(job):
                yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._suspect_at_work &= not alone
                self._changed.notify_all()

    def _wait(self, alone: bool, cancelled: Callable[[], bool]) -> None:
        with self._changed:
            self._suspects_waiting += alone
            try:
                while not self._has_room(alone):
                    if cancelled():
                        raise Cancelled("Stopped while waiting for its turn.")
                    self._changed.wait(_GLANCE_SECONDS)
                self._at_work += 1
                self._suspect_at_work |= alone
            finally:
                self._suspects_waiting -= alone

    def _has_room(self, alone: bool) -> bool:
        if alone:
            return self._at_work == 0
        # A suspect that waits goes first: else there would always be somebody at work.
        return not self._suspect_at_work and not self._suspects_waiting
