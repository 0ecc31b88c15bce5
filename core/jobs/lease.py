"""Keeps the leases of the jobs that run in this process, and learns from the database that one should stop."""

import threading
import time
from datetime import timedelta

from core.background import Periodic
from core.database import Database
from core.errors import DatabaseUnavailable
from core.jobs import repository
from core.jobs.repository import Claim, Renewal
from core.logging import get_logger

_log = get_logger(__name__)

CHECK_SECONDS = 1.0
"""How often the leases are renewed and asked about cancellation: one small transaction a second for each process."""


class LeasedJob:
    """One running job: its claim, how far it is, and whether it has to stop."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stage: str | None = None
        self.progress = 0.0
        self.cancel_requested = False
        self.lost = False
        self.handed_over = False

    @property
    def must_stop(self) -> bool:
        """True when going on would be work for nothing."""
        return self.cancel_requested or self.lost or self.handed_over


class LeaseKeeper:
    """One thread a process that renews every held lease."""

    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database, self._lease = database, lease
        self._held: dict[str, LeasedJob] = {}
        self._lock = threading.Lock()
        self._thread = Periodic("lease-keeper", CHECK_SECONDS, self._renew_all)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def hold(self, claim: Claim) -> LeasedJob:
        """Keep this claim's lease until it is released."""
        held = LeasedJob(claim)
        with self._lock:
            self._held[claim.token] = held
        return held

    def release(self, held: LeasedJob) -> None:
        """Stop renewing; the job's end is the caller's to record."""
        with self._lock:
            self._held.pop(held.claim.token, None)

    @property
    def running(self) -> int:
        """How many jobs run in this process."""
        with self._lock:
            return len(self._held)

    def hand_over(self) -> None:
        """Ask every running job to stop at its next step so that another process can have it."""
        with self._lock:
            for held in self._held.values():
                held.handed_over = True

    def wait_until_idle(self, timeout: timedelta) -> bool:
        """Wait for the running jobs to end; False when some are still running after `timeout`."""
        deadline = time.monotonic() + timeout.total_seconds()
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _renew_all(self) -> None:
        with self._lock:
            held_now = list(self._held.values())
        if not held_now:
            return
        renewals = [Renewal(held.claim, held.stage, held.progress) for held in held_now]
        try:
            answers = repository.renew(self._database, renewals, self._lease)
        except DatabaseUnavailable as error:
            _log.warning("leases_not_renewed", count=len(renewals), error=str(error))
            return
        for held in held_now:
            must_stop = answers.get(held.claim.job_id)
            if must_stop is None:
                self._note_loss(held)
            else:
                held.cancel_requested |= must_stop

    def _note_loss(self, held: LeasedJob) -> None:
        with self._lock:
            still_held = held.claim.token in self._held
        if still_held:
            held.lost = True
            _log.warning("lease_lost", job_id=held.claim.job_id)
