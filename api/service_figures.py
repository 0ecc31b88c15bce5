"""Figures of the whole service for Prometheus, read from the database at a scrape: every API process tells the same."""

import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.archive import deletions, inventory
from core.archive.packs import members as pack_members
from core.broker import QUEUES
from core.database import Database
from core.describing import budget
from core.errors import DatabaseUnavailable
from core.jobs import outbox, queries, workers
from core.jobs.workers import WorkerState
from core.logging import get_logger
from models.job import JobPriority, JobState
from models.stored_object import ObjectKind

_log = get_logger(__name__)

_KEPT_SECONDS = 60.0
"""How old those figures may be that take a look at whole tables."""

Families = Sequence[GaugeMetricFamily]


class ServiceFigures(Collector):
    """Asks the database; what is dear once a minute."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._sums: Families = ()
        self._summed_at = float("-inf")

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Queues, workers, storage and spending, zeros included; `misc_database_up` alone without a database."""
        answers = GaugeMetricFamily("misc_database_up", "Whether the database answered this scrape.")
        families: list[GaugeMetricFamily] = [answers]
        try:
            families += self._of_now()
            families += self._sums_of_late()
            answers.add_metric((), 1)
        except DatabaseUnavailable as error:
            _log.warning("service_not_measured", error=str(error))
            answers.add_metric((), 0)
            return [answers]
        return families

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: registering must not ask a database that may not be there yet."""
        return ()

    def _of_now(self) -> Families:
        jobs = GaugeMetricFamily("misc_jobs_open", "Jobs that wait for a worker or run.", labels=("queue", "state"))
        oldest = GaugeMetricFamily(
            "misc_jobs_oldest_due_seconds", "For how long the oldest job that waits has been due.", labels=("queue",)
        )
        waiting = GaugeMetricFamily(
            "misc_jobs_due", "Jobs that wait for a worker, by priority.", labels=("queue", "priority")
        )
        wake_ups = GaugeMetricFamily("misc_outbox_rows", "Wake-ups that the broker does not have yet.")
        processes = GaugeMetricFamily(
            "misc_workers", "Worker processes that consume a queue.", labels=("queue", "state")
        )
        with self._database.read() as session:
            counts, ages = queries.count_open(session), queries.oldest_due_seconds(session)
            due = queries.count_due_by_priority(session)
            unsent, alive = outbox.count_unsent(session), workers.count(session)
        for queue in QUEUES:
            for state in (JobState.QUEUED, JobState.RUNNING):
                jobs.add_metric((queue, state.value), counts.get((queue, state), 0))
            for priority in JobPriority:
                waiting.add_metric((queue, priority.value), due.get((queue, priority), 0))
            oldest.add_metric((queue,), ages.get(queue, 0.0))
            for worker_state in WorkerState:
                processes.add_metric((queue, worker_state.value), alive.get((queue, worker_state), 0))
        wake_ups.add_metric((), unsent)
        return jobs, waiting, oldest, wake_ups, processes

    def _sums_of_late(self) -> Families:
        if self._clock() - self._summed_at < _KEPT_SECONDS:
            return self._sums
        failed = GaugeMetricFamily("misc_jobs_failed", "Jobs that stand as failed, by code.", labels=("code",))
        objects = GaugeMetricFamily("misc_stored_objects", "Objects in storage.", labels=("kind",))
        sizes = GaugeMetricFamily("misc_stored_bytes", "Bytes in storage.", labels=("kind",))
        members = GaugeMetricFamily("misc_pack_members", "Streams and records in packs.", labels=("state",))
        packed = GaugeMetricFamily("misc_pack_bytes", "Bytes of streams and records in packs.", labels=("state",))
        damaged = GaugeMetricFamily("misc_damaged_objects", "Objects whose bytes are not what they should be.")
        retained = GaugeMetricFamily("misc_retained_objects", "Deleted objects that a lock of the store still holds.")
        verified = GaugeMetricFamily(
            "misc_oldest_verification_seconds", "Time since the object was verified that was verified longest ago."
        )
        spent = GaugeMetricFamily(
            "misc_spending", "Money spent on descriptions in the latest period of the cap.", labels=("period",)
        )
        with self._database.read() as session:
            held = inventory.holdings(session)
            in_packs = pack_members.sums(session)
            damaged.add_metric((), inventory.count_damaged(session))
            retained.add_metric((), deletions.retained(session).objects)
            verified.add_metric((), inventory.seconds_since_oldest_verification(session))
            for code, count in queries.count_failed(session).items():
                failed.add_metric((code,), count)
            for period, amount in budget.latest_spending(session):
                spent.add_metric((period,), amount)
        for kind in ObjectKind:
            holding = held.get(kind, inventory.Holding(0, 0))
            objects.add_metric((kind.value,), holding.objects)
            sizes.add_metric((kind.value,), holding.size_bytes)
        for state, count, size_bytes in (
            ("live", in_packs.live, in_packs.live_bytes),
            ("dead", in_packs.dead, in_packs.dead_bytes),
        ):
            members.add_metric((state,), count)
            packed.add_metric((state,), size_bytes)
        self._sums = (failed, objects, sizes, members, packed, damaged, retained, verified, spent)
        self._summed_at = self._clock()
        return self._sums
