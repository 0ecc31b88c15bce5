"""One job from notification to recorded end: claim, handle, record. Notified twice, killed anywhere, it ends once."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

import structlog
from sqlalchemy.orm import Session

from codec.errors import Cancelled, CodecError
from core.errors import (
    DatabaseUnavailable,
    DatabaseUnusable,
    Fault,
    LeaseLost,
    ObjectCorrupt,
    ObjectNotFound,
    ServiceError,
    StorageDenied,
    StorageUnavailable,
)
from core.jobs import claims, outbox, queries, transitions
from core.jobs.faults import fault_of, patience_with
from core.jobs.job import Claim
from core.jobs.lease import LeasedJob, LeaseKeeper
from core.jobs.retry import NEVER, PausePolicy, RetryPolicy
from core.logging import get_logger
from core.tracing import Span, SpanKind, span
from workers.context import JobDeferred, Record, WorkContext
from workers.ending import Ending, Outcome
from workers.handlers import Handlers
from workers.occupancy import Occupancy
from workers.services import WorkerServices

_log = get_logger(__name__)

INTERNAL_ERROR = "internal_error"
"""A defect of ours; the log has the traceback."""

_SETTLE_SECONDS = 600.0
"""For how long the end of a job is kept in hand while the database is away; then its work is done again."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 5.0
"""Between two questions to a database that is away."""

_GLANCE_SECONDS = 0.25

_DATABASE_AWAY = (DatabaseUnavailable, DatabaseUnusable)

_STORAGE_CODES = tuple(error.code for error in (StorageUnavailable, StorageDenied, ObjectCorrupt, ObjectNotFound))
_WOKEN_AT_ONCE = 1000


class Runner:
    """Runs jobs of queues; one for a process, called from many threads."""

    def __init__(self, name: str, handlers: Handlers, services: WorkerServices, keeper: LeaseKeeper) -> None:
        self._name, self._handlers, self._services, self._keeper = name[:48], handlers, services, keeper
        self._database, self._breaker = services.database, services.storage_breaker
        self._occupancy = Occupancy(keeper)
        self._retry = RetryPolicy(services.settings.retry_delay)
        self._pause = PausePolicy(services.settings.retry_delay, services.settings.patience)
        self._turns = itertools.count()
        self._last_notification = time.monotonic()
        self._is_stopping = threading.Event()
        self.is_draining = False
        """Whether jobs that arrive are left to other workers; the reconciler notifies those of them."""

    @property
    def idle_seconds(self) -> float:
        """Time since the last notification arrived, or since one waited for what its job needs."""
        return time.monotonic() - self._last_notification

    def stop(self) -> None:
        """Begin no other job, and leave those that wait for their claim to other processes."""
        self._is_stopping.set()

    def run(self, queue: str) -> None:
        """Claim the job of the queue whose turn it is and do it; returns quietly when there is none. Never raises for
        what a job did.

        While the storage is away no job is claimed but one now and then, which finds out whether it is back.
        """
        if self.is_draining or not self._wait_until_admitted():
            return  # the reconciler sends its notification again
        claim = self._claim(queue)
        if claim is None:
            return
        with (
            self._traced(claim) as traced,
            structlog.contextvars.bound_contextvars(job_id=claim.job_id, request_id=claim.request_id),
        ):
            job = self._keeper.hold(claim)
            failures = self._breaker.failures
            try:
                self._attempt(job, traced)
            finally:
                self._keeper.release(job)
                self._last_notification = time.monotonic()
        if self._breaker.failures == failures:
            self._breaker.record_success()
        if self._breaker.take_recovery():
            self._wake_paused()

    def _wait_until_admitted(self) -> bool:
        """Wait for the breaker; False when the process is to stop."""
        self._last_notification = time.monotonic()
        while not self._breaker.admits():
            if self._is_stopping.wait(_GLANCE_SECONDS):
                return False
            self._last_notification = time.monotonic()
        return True

    def _claim(self, queue: str) -> Claim | None:
        """Claim a job, waiting for a database that is away; None when none is due or the process stops."""
        turn = claims.turn_of(next(self._turns))
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            self._last_notification = time.monotonic()
            try:
                return claims.claim(self._database, queue, self._name, self._services.settings.lease, turn)
            except _DATABASE_AWAY as error:
                _log.warning("claim_failed", queue=queue, error=str(error))
            if self._is_stopping.wait(wait_seconds):
                return None
            wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)

    def _traced(self, claim: Claim) -> AbstractContextManager[Span]:
        return span(
            f"job {claim.kind}",
            SpanKind.CONSUMER,
            claim.trace_parent,
            misc__job_id=claim.job_id,
            misc__image_id=claim.image_id,
            misc__reconstruction_id=claim.reconstruction_id,
            misc__attempt=claim.attempt,
            misc__priority=claim.priority,
        )

    def _attempt(self, job: LeasedJob, traced: Span) -> None:
        services = self._services
        context = WorkContext(job, self._database, services.storage, services.events, self._occupancy)
        started = time.perf_counter()
        ending = self._work(job, context, started)
        context.stages.close()
        traced.note(misc__outcome=ending.outcome.value, misc__code=ending.code)
        if ending.outcome is Outcome.FAILED:
            traced.note_failure(ending.code or ending.outcome.value)
        seconds = ending.seconds or {"job": time.perf_counter() - started}
        self._report(job.claim, context, ending, seconds)

    def _work(self, job: LeasedJob, context: WorkContext, started: float) -> Ending:
        """Do the job and record how that ended."""
        claim = job.claim
        try:
            record = self._handlers.of(claim.kind)(context)
            return self._succeed(job, record, started)
        except JobDeferred as deferral:
            return self._settle_in_transaction(job, Outcome.DEFERRED, deferral.record)
        except Cancelled:
            return self._stop(job)
        except LeaseLost:
            _log.warning("result_dropped", reason="lease lost")
            return Ending(Outcome.LOST)
        except (ServiceError, CodecError) as error:
            return self._fail(job, error)
        except Exception as error:  # noqa: BLE001 - a defect must end as a failed job, not as a lost one
            _log.exception("job_crashed", kind=claim.kind)
            message = f"{type(error).__name__}: {error}"
            return self._settle_in_transaction(
                job,
                Outcome.RETRIED,
                lambda session: transitions.retry(session, claim, self._retry, INTERNAL_ERROR, message),
                INTERNAL_ERROR,
            )

    def _report(self, claim: Claim, context: WorkContext, ending: Ending, seconds: Mapping[str, float]) -> None:
        """Tell the log and the figures how the attempt ended; the log's line has all that a search may ask for."""
        metrics, is_success = self._services.metrics, ending.outcome is Outcome.SUCCEEDED
        sizes = context.sizes if is_success else {}
        metrics.count_attempt(claim.kind, ending.outcome.value, ending.code, seconds if is_success else {}, sizes)
        if context.usage is not None:
            metrics.count_answer(context.usage)
        _log.info(
            "job_done",
            kind=claim.kind,
            image_id=claim.image_id,
            reconstruction_id=claim.reconstruction_id,
            worker=self._name,
            attempt=claim.attempt,
            priority=claim.priority,
            outcome=ending.outcome.value,
            code=ending.code,
            seconds={stage: round(spent, 4) for stage, spent in seconds.items()},
            bytes_in=sizes.get("in"),
            bytes_out=sizes.get("out"),
        )

    def _succeed(self, job: LeasedJob, record: Record | None, started: float) -> Ending:
        claim = job.claim
        seconds: dict[str, float] = {}

        def _write() -> Outcome:
            seconds.update(job=time.perf_counter() - started)
            if record is None:
                transitions.succeed_alone(self._database, claim, seconds)
                return Outcome.SUCCEEDED
            with self._database.write() as session:
                claims.lock(session, claim)
                seconds.update(record(session) | {"job": time.perf_counter() - started})
                transitions.succeed(session, claim, seconds)
            return Outcome.SUCCEEDED

        return replace(self._settle(job, _write), seconds=seconds)

    def _stop(self, job: LeasedJob) -> Ending:
        """End a job that did not go on, according to who stopped it."""
        claim = job.claim
        if job.lost:
            _log.warning("result_dropped", reason="lease lost")
            return Ending(Outcome.LOST)
        if job.cancel_requested:
            return self._settle_in_transaction(
                job, Outcome.CANCELLED, lambda session: transitions.cancel_running(session, claim)
            )
        ending = self._settle_in_transaction(
            job, Outcome.HANDED_OVER, lambda session: transitions.requeue(session, claim, count_attempt=False)
        )
        try:
            outbox.flush_outbox(self._database, self._services.broker)
        except ServiceError as error:
            _log.warning("notifications_delayed", error=str(error))  # the reconciler sends them
        return ending

    def _fail(self, job: LeasedJob, error: ServiceError | CodecError) -> Ending:
        """End an attempt that met an error, according to whose fault that is."""
        claim, code, message, fault = job.claim, error.code, str(error), fault_of(error)
        _log.warning("attempt_failed", code=code, error=message, attempt=claim.attempt, fault=fault.value)

        def _write(session: Session) -> bool:
            if fault is Fault.SURROUNDINGS:
                policy = replace(self._pause, patience=patience_with(error, self._pause.patience))
                return transitions.pause(session, claim, policy, code, message)
            policy_of_attempts = self._retry if fault is Fault.SERVICE else NEVER
            return transitions.retry(session, claim, policy_of_attempts, code, message)

        outcome = Outcome.PAUSED if fault is Fault.SURROUNDINGS else Outcome.RETRIED
        return self._settle_in_transaction(job, outcome, _write, code)

    def _settle_in_transaction(
        self, job: LeasedJob, outcome: Outcome, write: Callable[[Session], bool | None], code: str | None = None
    ) -> Ending:
        """Settle with this outcome, or as failed where `write` returns that this was the job's end (False)."""

        def _write() -> Outcome:
            with self._database.write() as session:
                is_end = write(session) is False
            return Outcome.FAILED if is_end else outcome

        return replace(self._settle(job, _write), code=code)

    def _settle(self, job: LeasedJob, write: Callable[[], Outcome]) -> Ending:
        """Write the end of an attempt, through an outage of the database; its lease is renewed meanwhile."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            try:
                return Ending(write())
            except LeaseLost:
                _log.warning("result_dropped", reason="lease lost")
                return Ending(Outcome.LOST)
            except _DATABASE_AWAY as error:
                _log.warning("end_not_recorded", error=str(error))
            if time.monotonic() > deadline or job.handed_over:
                return Ending(Outcome.LOST)  # the lease expires, and the job is done again
            time.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, _LONGEST_WAIT_SECONDS)

    def _wake_paused(self) -> None:
        """Make those jobs due that the storage turned away: it is back. How many are at it at a time is limited by the
        threads of the workers, as ever."""
        try:
            with self._database.write() as session:
                transitions.wake(session, queries.paused(session, _STORAGE_CODES, _WOKEN_AT_ONCE))
            outbox.flush_outbox(self._database, self._services.broker)
        except ServiceError as error:
            _log.warning("paused_jobs_not_woken", code=error.code, error=str(error))  # they are due in minutes
