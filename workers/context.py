"""What a handler is given, and what it gives back."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from codec.usage import Usage
from core.database import Database
from core.errors import DatabaseUnavailable
from core.events import EventLog
from core.jobs import claims
from core.jobs.lease import LeasedJob
from core.storage import Storage
from core.storage.verified import fetch_file
from core.temp_files import FETCHED, space_errors
from core.tracing import Stages
from models.base import utc_now
from workers.occupancy import Occupancy

Record = Callable[[Session], dict[str, float]]
"""Writes the result in the job's last transaction, and returns the seconds that each stage took."""

_CHECK_SECONDS = 0.01
"""Steps that follow each other faster than this are not worth a query each."""

_NO_ROOM = "The worker's temporary folder has no room; make some, or set MISC_TEMP_PATH."

_EVENT_SECONDS = 0.25
"""Watchers see at most four progress events a second; the lease keeper writes to the database once a second."""


class WorkContext:
    """One attempt of one job."""

    def __init__(
        self, job: LeasedJob, database: Database, storage: Storage, events: EventLog, occupancy: Occupancy
    ) -> None:
        self.claim = job.claim
        self.database, self.storage = database, storage
        self._job, self._events, self._occupancy = job, events, occupancy
        self.sizes: dict[str, int] = {}
        """Bytes that the job read, as `in`, and stored, as `out`."""
        self.usage: Usage | None = None
        """What was paid for an answer of a language model."""
        self.stages = Stages()
        """The spans of what the job is at, each until the next begins."""
        self._last_event = 0.0
        self._last_check = 0.0

    def progress(self, stage: str, fraction: float) -> None:
        """Note how far the job is, `fraction` in [0, 1] of the whole."""
        changed = stage != self._job.stage
        if changed:
            self.stages.enter(stage)
        self._job.stage, self._job.progress = stage, fraction
        now = time.monotonic()
        if changed or now - self._last_event >= _EVENT_SECONDS:
            self._last_event = now
            self._events.publish(
                self.claim.job_id, "progress", {"stage": stage, "progress": round(fraction, 4), "state": "running"}
            )

    @property
    def priority(self) -> str:
        """How urgent the job is by now: an order that found it on its way may have raised that."""
        return self._job.priority

    @property
    def seconds_left(self) -> float | None:
        """Until its deadline; negative when that is past, None where it has none."""
        deadline = self._job.deadline
        return None if deadline is None else (deadline - utc_now()).total_seconds()

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """A block in which the job does what may kill the process, with nobody else if it is a suspect; see
        `Occupancy.enter`."""
        return self._occupancy.enter(self._job, self.cancelled)

    def publish_preview(self, preview: dict[str, Any]) -> None:
        """Send watchers a preview picture; the caller keeps them few and small."""
        self._events.publish(self.claim.job_id, "preview", preview)

    def cancelled(self) -> bool:
        """True when the job has to stop at once: cancelled, taken back, or the process is ending."""
        return self._job.must_stop

    def check_cancelled(self) -> bool:
        """The same after a look in the database; raises LeaseLost when the job was taken back.

        The lease keeper reads a cancellation up to a second later, in which a decode may take many steps.
        """
        now = time.monotonic()
        if not self._job.must_stop and now - self._last_check >= _CHECK_SECONDS:
            self._last_check = now
            # Without a database the job goes on: the lease keeper logs the outage and knows when to give up.
            with contextlib.suppress(DatabaseUnavailable):
                self._job.cancel_requested |= claims.is_cancel_requested(self.database, self.claim)
        return self._job.must_stop


class JobDeferred(Exception):
    """The job has to wait for something outside; `record` notes for what and queues the job, in one transaction."""

    def __init__(self, record: Callable[[Session], None]) -> None:
        super().__init__("the job is deferred")
        self.record = record


Handler = Callable[[WorkContext], Record | None]
"""Does the job; returns None when there is no result to record. Raises JobDeferred for a job that has to wait."""


@contextlib.contextmanager
def temporary_copy(storage: Storage, key: str, sha256: str | None) -> Iterator[Path]:
    """An object as a file that is removed with the block; raises as `Storage.get` does, and SpaceExhausted when the
    temporary folder has no room for it."""
    with space_errors(_NO_ROOM):
        descriptor, name = tempfile.mkstemp(prefix=FETCHED, suffix=Path(key).suffix)
        os.close(descriptor)
    path = Path(name)
    try:
        fetch_file(storage, key, path, sha256, _NO_ROOM)
        yield path
    finally:
        path.unlink(missing_ok=True)
