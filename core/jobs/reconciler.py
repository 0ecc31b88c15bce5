"""Repairs what was lost: unsent or forgotten notifications, leases of dead workers, loose objects.

A pass may be made by any process at any time, also by two at once; one process leads only to save work.
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from core.archive import deletions
from core.background import Periodic
from core.broker import QUEUES, Broker
from core.database import Database
from core.errors import LeaseLost, ServiceError, WorkerLost
from core.jobs import outbox, queries, transitions
from core.jobs.job import HeldLease
from core.jobs.lease_watch import LeaseWatch
from core.jobs.retry import LONGEST_PAUSE, RetryPolicy
from core.logging import get_logger
from core.settings import WorkerSettings
from core.storage import Storage
from models.base import new_id

_log = get_logger(__name__)

_GRACE = timedelta(seconds=5)
"""A notification younger than this may still be on its way: between the outbox and the queue, or between the queue and
the claim."""

_OUTBOX_GRACE = timedelta(seconds=2)
"""The process that committed a notification younger than this is about to send it. Sending it twice does no harm."""

_WATCH_SECONDS = 1.0
"""How often leases are looked at, at least: jobs of a dead worker go on so soon after their leases."""

_DATES_SECONDS = 20.0
"""How often all that waits is looked at for dates that cannot be, which takes the longer the more waits."""

_BATCH = 1000
_MOST_LEASES = 10_000

_LONGEST_DELAY = LONGEST_PAUSE * 1.5
"""Longer than any wait between two attempts."""


class Reconciler:
    """Makes a pass, and a sweep of loose objects, every interval while it leads. Leases are watched in every process,
    so that the next leader knows for how long each was not renewed."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        storage: Storage,
        settings: WorkerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds and never goes back."""
        self._database, self._broker, self._storage = database, broker, storage
        self._settings = settings
        self._holder = new_id("rcn")
        self._retry = RetryPolicy(settings.retry_delay)
        self._watch = LeaseWatch(settings.lease, clock)
        self._clock, self._correct_dates_at = clock, 0.0
        interval = settings.reconcile_interval.total_seconds()
        self._threads = (
            Periodic("lease-watch", min(interval, _WATCH_SECONDS), self.watch_leases),
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

    def watch_leases(self) -> None:
        """Look at all leases, and take the jobs of silent workers back; raises ServiceError as `make_pass` does."""
        with self._database.read() as session:
            leases = queries.held_leases(session, _MOST_LEASES)
        silent = self._watch.look(leases)
        if silent and self._leads("reconciler"):
            self._take_back(silent)

    def make_pass(self) -> None:
        """One repair of all notifications; raises ServiceError when the database or Redis is away."""
        outbox.flush_outbox(self._database, self._broker, older_than=_OUTBOX_GRACE)
        self._correct_dates()
        for queue in QUEUES:
            self._notify_again(queue)

    def _lead_pass(self) -> None:
        if self._leads("reconciler"):
            self.make_pass()

    def _lead_sweep(self) -> None:
        # A thread of its own: a slow store must not delay the jobs of dead workers.
        if self._leads("object-sweep"):
            deletions.sweep(self._database, self._storage)

    def _leads(self, what: str) -> bool:
        return self._broker.acquire_leadership(
            what, self._holder, self._settings.reconcile_interval.total_seconds() * 2.5
        )

    def _take_back(self, silent: Sequence[HeldLease]) -> None:
        for lease in silent:
            claim = lease.claim
            try:
                with self._database.write() as session:
                    is_tried_again = transitions.take_back(
                        session, claim, self._retry, at_work=lease.at_work, code=WorkerLost.code
                    )
            except LeaseLost:
                continue  # it ended, or somebody else took it back, since we looked
            except ServiceError:
                raise
            except Exception:  # noqa: BLE001 - a row that nobody foresaw holds up no other
                _log.exception("lease_not_taken_back", job_id=claim.job_id)
                continue
            _log.warning(
                "lease_expired",
                job_id=claim.job_id,
                attempt=claim.attempt,
                at_work=lease.at_work,
                was_alone=claim.is_suspect,
                parked=not is_tried_again,
            )
        outbox.flush_outbox(self._database, self._broker)

    def _correct_dates(self) -> None:
        """Make those jobs due that a wrong clock put off for longer than any pause lasts."""
        now = self._clock()
        if now < self._correct_dates_at:
            return
        self._correct_dates_at = now + _DATES_SECONDS
        with self._database.read() as session:
            misdated = queries.misdated(session, _LONGEST_DELAY, _BATCH)
        if misdated:
            with self._database.write() as session:
                transitions.wake(session, misdated)
            _log.warning("due_dates_corrected", count=len(misdated))

    def _notify_again(self, queue: str) -> None:
        """Send new notifications when the broker holds fewer messages than there are jobs that wait for one."""
        with self._database.read() as session:
            missing = queries.count_due(session, queue) - self._broker.waiting(queue)
            if missing <= 0:
                return
            # Queues are first in, first out: what has waited longest is what was lost.
            waiting = queries.waiting_since(session, queue, _GRACE, min(missing, _BATCH))
        if not waiting:
            return
        self._broker.notify(waiting, queue)
        transitions.record_notified(self._database, waiting)
        _log.warning("notifications_sent_again", queue=queue, count=len(waiting))
