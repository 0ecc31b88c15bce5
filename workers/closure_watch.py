"""Tells, now and then, of networks that streams need and nobody holds: before somebody wants a picture that cannot be
made. For workers that decode, whose machines have the networks."""

import time
from collections.abc import Callable

from codec.weights.store import WeightsStore
from core.archive.closure import Standing, closure
from core.background import Periodic
from core.broker import Broker
from core.database import Database
from core.logging import get_logger
from core.storage import Storage
from models.base import new_id

_log = get_logger(__name__)

_PASS_SECONDS = 60.0
_BETWEEN_SECONDS = 3600.0
"""A look reads the row of every image."""


class ClosureWatch:
    """One thread a process, of which one process at a time does the work."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        storage: Storage,
        weights: WeightsStore,
        note: Callable[[int], None] = lambda _missing: None,
    ) -> None:
        """`note` is told how many networks are missing; none, where another process looks."""
        self._database, self._broker, self._storage, self._weights = database, broker, storage, weights
        self._note = note
        self._holder = new_id("clw")
        self._due_at = 0.0
        self._thread = Periodic("closure", _PASS_SECONDS, self._lead_pass)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def look(self) -> list[Standing]:
        """The networks that are missing now; each is logged."""
        here = {sha256: record.name for sha256, record in self._weights.installed().items()}
        missing = [one for one in closure(self._database, self._storage, here) if one.is_missing]
        for one in missing:
            _log.error("network_missing", part=one.need.part, prefix=one.need.prefix, images=one.need.images)
        self._note(len(missing))
        return missing

    def _lead_pass(self) -> None:
        if not self._broker.acquire_leadership("closure", self._holder, 3 * _PASS_SECONDS):
            self._note(0)
            self._due_at = 0.0
        elif time.monotonic() >= self._due_at:
            self.look()
            self._due_at = time.monotonic() + _BETWEEN_SECONDS
