"""Renews the leases of the jobs that run in this process, and learns from the database that one should stop, or is
waited for more urgently."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from core.background import Periodic
from core.database import Database
from core.errors import LeaseLost, ServiceError
from core.jobs import claims
from core.jobs.job import Claim, Renewal
from core.logging import get_logger

_log = get_logger(__name__)

CHECK_SECONDS = 1.0
"""How often leases are renewed and cancellations read: one small transaction a second for each process."""


class LeasedJob:
    """One running job: its claim, how far it is, how urgent it is by now, and whether it has to stop."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.priority, self.deadline = claim.priority, claim.deadline
        self.stage: str | None = None
        self.progress = 0.0
        self.at_work = False
        self.is_recorded_at_work = False
        self.cancel_requested = False
        self.lost = False
        self.handed_over = False

    @property
    def must_stop(self) -> bool:
        """True when the rest of the work would be for nothing."""
        return self.cancel_requested or self.lost or self.handed_over


class LeaseKeeper:
    """One thread a process that renews the lease of every running job."""

    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database, self._lease = database, lease
        self._jobs: dict[str, LeasedJob] = {}
        self._lock = threading.Lock()
        # Held while leases are renewed, so that a renewal under way overwrites nothing that is newer.
        self._renewing = threading.Lock()
        self._thread = Periodic("lease-keeper", CHECK_SECONDS, self._renew_all)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def hold(self, claim: Claim) -> LeasedJob:
        """Keep this claim's lease until it is released."""
        job = LeasedJob(claim)
        with self._lock:
            self._jobs[claim.token] = job
        return job

    @contextmanager
    def at_work(self, job: LeasedJob) -> Iterator[None]:
        """Have the database know while the block runs that the job is at work; raises LeaseLost, DatabaseUnavailable.

        It is recorded before the block begins. That the block has ended is recorded with the next renewal, which saves
        a job that goes on to its next step a statement; but at once for a suspect, which must not be accused of what
        the next job does, and before a suspect begins for all others.
        """
        is_suspect = job.claim.is_suspect
        try:
            with self._renewing:
                job.at_work = True
                if is_suspect:
                    self._renew(list({*self._held(), job}))
                elif not job.is_recorded_at_work:
                    self._renew([job])
            if job.lost:
                raise LeaseLost(f"Job {job.claim.job_id} was taken back.")
            yield
        finally:
            job.at_work = False
            if is_suspect:
                self._renew_all()

    def release(self, job: LeasedJob) -> None:
        """Stop renewing; the job's end is the caller's to record."""
        with self._lock:
            self._jobs.pop(job.claim.token, None)

    @property
    def running(self) -> int:
        """How many jobs run in this process."""
        with self._lock:
            return len(self._jobs)

    def hand_over(self) -> None:
        """Ask every running job to stop at its next step so that another process can have it."""
        with self._lock:
            for job in self._jobs.values():
                job.handed_over = True

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

    def _held(self) -> list[LeasedJob]:
        with self._lock:
            return list(self._jobs.values())

    def _renew_all(self) -> None:
        with self._renewing:
            # Read under the lock, so that what began or ended while it was waited for is renewed as it is now.
            jobs = self._held()
            if not jobs:
                return
            try:
                self._renew(jobs)
            except ServiceError as error:
                _log.warning("leases_not_renewed", count=len(jobs), error=str(error))

    def _renew(self, jobs: Sequence[LeasedJob]) -> None:
        renewals = [Renewal(job.claim, job.stage, job.progress, job.at_work) for job in jobs]
        wishes = claims.renew(self._database, renewals, self._lease)
        for job, renewal in zip(jobs, renewals, strict=True):
            if (wish := wishes.get(job.claim.job_id)) is not None:
                job.cancel_requested |= wish.cancel_requested
                job.priority, job.deadline = wish.priority, wish.deadline
                job.is_recorded_at_work = renewal.at_work
            else:
                self._note_loss(job)

    def _note_loss(self, job: LeasedJob) -> None:
        with self._lock:
            still_runs = job.claim.token in self._jobs
        if still_runs:
            job.lost = True
            _log.warning("lease_lost", job_id=job.claim.job_id)
