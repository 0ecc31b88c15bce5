"""Reads every object once in a period, at most so much a second; where it was is in the catalogue, so that it goes on
wherever a process was killed."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from core.archive import fixity
from core.archive.fixity import Outcome
from core.background import Periodic
from core.broker import Broker
from core.database import Database
from core.errors import ServiceError
from core.logging import get_logger
from core.settings import FixitySettings
from core.storage.mirrored import Copies
from models.base import new_id
from models.stored_object import StoredObject

_log = get_logger(__name__)

_PASS_SECONDS = 5.0
_BATCH = 100
_LEADERSHIP_SECONDS = 120.0
"""Longer than a pass of small objects takes. Two that scrub at once do no harm."""

_AGAIN_SECONDS = 3600.0
"""When an object is looked at again that could not be read or mended; it would else keep all others waiting."""

_MOST_ERRORS = 3
"""After so many in a row it is the store that is away, not the object that cannot be read."""


class Pace:
    """Holds back what goes faster than so many objects and bytes a second; for one thread."""

    def __init__(
        self,
        objects_per_second: float,
        bytes_per_second: float,
        wait: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wait` sleeps for so many seconds; `clock` gives seconds and never goes back."""
        self._object_seconds, self._byte_seconds = 1 / objects_per_second, 1 / bytes_per_second
        self._wait, self._clock = wait, clock
        self._free_at = clock()

    def spend(self, size_bytes: int) -> None:
        """Wait until one more object of this size may have been read."""
        now = self._clock()
        self._free_at = max(self._free_at, now) + max(self._object_seconds, size_bytes * self._byte_seconds)
        if self._free_at > now:
            self._wait(self._free_at - now)


class Scrubber:
    """One thread a process, of which one process at a time does the work."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        copies: Copies,
        settings: FixitySettings,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """`count` is told the outcome of every look at an object."""
        self._database, self._broker, self._copies, self._settings = database, broker, copies, settings
        self._count = count
        self._holder = new_id("scr")
        self._stopped = threading.Event()
        self._pace = Pace(settings.objects_per_second, settings.bytes_per_second, self._stopped.wait)
        self._put_off: dict[str, float] = {}
        self._thread = Periodic("scrubber", _PASS_SECONDS, self._lead_pass)

    def start(self) -> None:
        """Begin, where anything is to be verified at all."""
        if self._settings.period:
            self._thread.start()

    def close(self) -> None:
        """End after the object that is being read."""
        self._stopped.set()
        self._thread.close()

    def make_pass(self) -> Counter[Outcome]:
        """Look at up to 100 objects; returns how many had which outcome. Raises ServiceError when a store is away."""
        self._put_off = {key: until for key, until in self._put_off.items() if until > time.monotonic()}
        with self._database.read() as session:
            with_mirror = self._copies.mirror is not None
            limit = _BATCH + len(self._put_off)
            rows = fixity.due(session, self._settings.period, limit, with_mirror=with_mirror)
        outcomes: Counter[Outcome] = Counter()
        failed: list[str] = []
        for row in (row for row in rows if row.key not in self._put_off):
            if self._stopped.is_set():
                break
            try:
                outcome = self._look(row)
            except ServiceError as error:
                _log.warning("object_not_verified", key=row.key, code=error.code, error=str(error))
                failed.append(row.key)
                if len(failed) == _MOST_ERRORS:
                    raise
                continue
            outcomes[outcome] += 1
            self._put_off |= dict.fromkeys(failed, time.monotonic() + _AGAIN_SECONDS)
            failed = []
        return outcomes

    def _look(self, row: StoredObject) -> Outcome:
        outcome = fixity.verify(self._database, self._copies, row)
        if outcome is Outcome.DAMAGED:
            self._put_off[row.key] = time.monotonic() + _AGAIN_SECONDS
        self._count(outcome.value)
        self._pace.spend(row.size_bytes or 0)
        return outcome

    def _lead_pass(self) -> None:
        # A process that has more to do goes on at once.
        while self._broker.acquire_leadership("scrubber", self._holder, _LEADERSHIP_SECONDS):
            if sum(self.make_pass().values()) < _BATCH or self._stopped.is_set():
                return
