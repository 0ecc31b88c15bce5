"""What a unit of work is given, and what it gives back."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.orm import Session

from core.database import Database
from core.errors import ObjectCorrupt
from core.events import EventLog
from core.jobs.lease import HeldJob
from core.jobs.repository import Claim
from core.storage import Storage

Record = Callable[[Session], dict[str, float]]
"""Writes the result in the job's last transaction, and returns the seconds that each stage took."""

_EVENT_SECONDS = 0.25
"""Watchers see at most four progress events a second; the lease keeper writes to the database once a second."""


class WorkContext:
    """One attempt of one job."""

    def __init__(self, held: HeldJob, database: Database, storage: Storage, events: EventLog) -> None:
        self.claim: Claim = held.claim
        self.database, self.storage = database, storage
        self._held, self._events = held, events
        self._last_event = 0.0

    def progress(self, stage: str, fraction: float) -> None:
        """Say how far the job is, `fraction` in [0, 1] of the whole."""
        changed = stage != self._held.stage
        self._held.stage, self._held.progress = stage, fraction
        now = time.monotonic()
        if changed or now - self._last_event >= _EVENT_SECONDS:
            self._last_event = now
            self._events.publish(
                self.claim.job_id, "progress", {"stage": stage, "progress": round(fraction, 4), "state": "running"}
            )

    def cancelled(self) -> bool:
        """True when the job has to stop at once: cancelled, taken back, or the process is ending."""
        return self._held.must_stop


Work = Callable[[WorkContext], Record | None]
"""Does the job; returns None when there is no result to record."""


@contextmanager
def fetched(storage: Storage, key: str, sha256: str | None) -> Iterator[Path]:
    """An object as a temporary file that goes with the block; raises ObjectCorrupt when it has another digest."""
    with tempfile.NamedTemporaryFile(prefix="misc-", suffix=Path(key).suffix) as file:
        with storage.open(key) as reader:
            digest = hashlib.sha256()
            for chunk in reader:
                digest.update(chunk)
                file.write(chunk)
        file.flush()
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ObjectCorrupt(f"The object {key} is not what was stored: its SHA-256 differs. Upload it again.")
        yield Path(file.name)
