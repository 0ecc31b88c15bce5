"""Repairs what was lost: unsent promises, wake-ups that the broker forgot, leases of dead workers, loose objects.

Every pass is safe to run anywhere and at any time, twice at once included; one process leads only to save work.
"""

import time
from datetime import timedelta

from sqlalchemy import update

from core.archive import object_lifecycle
from core.background import Periodic
from core.broker import QUEUES, Broker
from core.database import Database
from core.errors import DatabaseUnavailable, LeaseLost, WorkerLost
from core.jobs import outbox, repository
from core.jobs.records import put_back, update_owner
from core.logging import get_logger
from core.settings import WorkerSettings
from core.storage import Storage
from models.base import new_id, utc_now
from models.job import Job, JobState

_log = get_logger(__name__)

_GRACE = timedelta(seconds=5)
"""A wake-up younger than this may still be on its way: between the outbox and the queue, or between the queue and
the claim."""

_OUTBOX_GRACE = timedelta(seconds=2)
"""A promise younger than this is still in the hands of the process that made it. Sending it twice does no harm."""

_RENEWAL_SECONDS = 5.0
"""Several times what a lease keeper needs to renew everything it holds."""

_BATCH = 1000


class Reconciler:
    """Makes a pass, and a sweep of loose objects, every interval while it leads."""

    def __init__(self, database: Database, wake_ups: Broker, storage: Storage, settings: WorkerSettings) -> None:
        self._database, self._wake_ups, self._storage = database, wake_ups, storage
        self._settings = settings
        self._holder = new_id("rcn")
        self._last_look = time.time()
        self._trust_leases_at = 0.0
        interval = settings.reconcile_interval.total_seconds()
        self._threads = (
            Periodic("reconciler", interval, self._lead_pass),
            Periodic("object-sweep", interval, self._lead_sweep),
        )

    def start(self) -> None:
        """Begin to make passes."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.close()

    def make_pass(self) -> None:
        """One repair of everything; raises ServiceError when the database or Redis is away."""
        if time.time() >= self._trust_leases_at:
            self._take_back_expired_leases()
        outbox.flush_outbox(self._database, self._wake_ups, older_than=_OUTBOX_GRACE)
        for queue in QUEUES:
            self._wake_again(queue)

    def _lead_pass(self) -> None:
        self._notice_gap()
        if not self._leads("reconciler"):
            return
        try:
            self.make_pass()
        except DatabaseUnavailable:
            self._distrust_leases()
            raise

    def _lead_sweep(self) -> None:
        # A thread of its own: a slow store must not delay the jobs of dead workers.
        if self._leads("object-sweep"):
            object_lifecycle.sweep(self._database, self._storage)

    def _leads(self, what: str) -> bool:
        return self._wake_ups.lead(what, self._holder, self._settings.reconcile_interval.total_seconds() * 2.5)

    def _notice_gap(self) -> None:
        now = time.time()
        if now - self._last_look > self._settings.lease.total_seconds() / 2:
            self._distrust_leases()
        self._last_look = now

    def _distrust_leases(self) -> None:
        """After a suspended machine or an absent database every lease looks expired: their keepers go first."""
        self._trust_leases_at = time.time() + _RENEWAL_SECONDS

    def _take_back_expired_leases(self) -> None:
        with self._database.read() as session:
            claims = repository.expired(session, _BATCH)
        for claim in claims:
            try:
                with self._database.write() as session:
                    if claim.is_last_attempt:
                        message = f"Its worker died or fell silent in each of {claim.attempt} attempts."
                        repository.fail(session, claim, WorkerLost.code, message)
                        update_owner(session, claim, JobState.FAILED)
                    else:
                        put_back(
                            session,
                            claim,
                            delay=timedelta(0),
                            code=WorkerLost.code,
                            message="Its worker died or fell silent; it is tried again.",
                            count_attempt=True,
                        )
            except LeaseLost:
                continue  # it ended, or somebody else took it back, since we looked
            _log.warning("lease_expired", job_id=claim.job_id, attempt=claim.attempt, last=claim.is_last_attempt)
        if claims:
            outbox.flush_outbox(self._database, self._wake_ups)

    def _wake_again(self, queue: str) -> None:
        """Send new wake-ups when the broker holds fewer messages than there are jobs that wait for one."""
        with self._database.read() as session:
            missing = repository.count_due(session, queue) - self._wake_ups.waiting(queue)
            if missing <= 0:
                return
            # Queues are first in, first out: what has waited longest is what was lost.
            waiting = repository.waiting_since(session, queue, utc_now() - _GRACE, min(missing, _BATCH))
        if not waiting:
            return
        self._wake_ups.send(waiting, queue)
        with self._database.write() as session:
            session.execute(
                update(Job).where(Job.id.in_(waiting)).values(woken_at=utc_now()),
                execution_options={"synchronize_session": False},
            )
        _log.warning("wake_ups_sent_again", queue=queue, count=len(waiting))
