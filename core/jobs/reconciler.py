"""Repairs what was lost: unsent or forgotten notifications, leases of dead workers, loose objects.

A pass may be made by any process at any time, also by two at once; one process leads only to save work.
"""

import time
from datetime import timedelta

from core.archive import object_lifecycle
from core.background import Periodic
from core.broker import QUEUES, Broker
from core.database import Database
from core.errors import DatabaseUnavailable, LeaseLost, ServiceError, WorkerLost
from core.jobs import outbox, queries, transitions
from core.jobs.job import Claim
from core.jobs.retry import AT_ONCE
from core.logging import get_logger
from core.settings import WorkerSettings
from core.storage import Storage
from models.base import new_id, utc_now

_log = get_logger(__name__)

_GRACE = timedelta(seconds=5)
"""A notification younger than this may still be on its way: between the outbox and the queue, or between the queue and
the claim."""

_OUTBOX_GRACE = timedelta(seconds=2)
"""The process that committed a notification younger than this is about to send it. Sending it twice does no harm."""

_RENEWAL_SECONDS = 5.0
"""Several times what a lease keeper needs to renew everything it holds."""

_BATCH = 1000


class Reconciler:
    """Makes a pass, and a sweep of loose objects, every interval while it leads."""

    def __init__(self, database: Database, broker: Broker, storage: Storage, settings: WorkerSettings) -> None:
        self._database, self._broker, self._storage = database, broker, storage
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
            self._requeue_expired()
        outbox.flush_outbox(self._database, self._broker, older_than=_OUTBOX_GRACE)
        for queue in QUEUES:
            self._notify_again(queue)

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
        return self._broker.acquire_leadership(
            what, self._holder, self._settings.reconcile_interval.total_seconds() * 2.5
        )

    def _notice_gap(self) -> None:
        now = time.time()
        if now - self._last_look > self._settings.lease.total_seconds() / 2:
            self._distrust_leases()
        self._last_look = now

    def _distrust_leases(self) -> None:
        """After a suspended machine or an absent database every lease looks expired: their keepers go first."""
        self._trust_leases_at = time.time() + _RENEWAL_SECONDS

    def _requeue_expired(self) -> None:
        with self._database.read() as session:
            claims = queries.expired(session, _BATCH)
        for claim in claims:
            try:
                with self._database.write() as session:
                    transitions.retry(session, claim, AT_ONCE, WorkerLost.code, _silence_message(claim))
            except LeaseLost:
                continue  # it ended, or somebody else took it back, since we looked
            except ServiceError:
                raise
            except Exception:  # noqa: BLE001 - a row that nobody foresaw holds up no other
                _log.exception("lease_not_taken_back", job_id=claim.job_id)
                continue
            _log.warning("lease_expired", job_id=claim.job_id, attempt=claim.attempt, last=claim.is_last_attempt)
        if claims:
            outbox.flush_outbox(self._database, self._broker)

    def _notify_again(self, queue: str) -> None:
        """Send new notifications when the broker holds fewer messages than there are jobs that wait for one."""
        with self._database.read() as session:
            missing = queries.count_due(session, queue) - self._broker.waiting(queue)
            if missing <= 0:
                return
            # Queues are first in, first out: what has waited longest is what was lost.
            waiting = queries.waiting_since(session, queue, utc_now() - _GRACE, min(missing, _BATCH))
        if not waiting:
            return
        self._broker.notify(waiting, queue)
        transitions.record_notified(self._database, waiting)
        _log.warning("notifications_sent_again", queue=queue, count=len(waiting))


def _silence_message(claim: Claim) -> str:
    if claim.is_last_attempt:
        return f"Its worker died or fell silent in each of {claim.attempt} attempts."
    return "Its worker died or fell silent; it is tried again."
