"""One job from notification to recorded end: claim, handle, record. Delivered twice, killed anywhere, it ends once."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session

from codec.errors import Cancelled, CodecError
from core.errors import DatabaseUnavailable, LeaseLost, ServiceError
from core.jobs import outbox, transitions
from core.jobs.job import Claim
from core.jobs.lease import LeasedJob, LeaseKeeper
from core.jobs.retry import NEVER, RetryPolicy
from core.logging import get_logger
from workers.context import JobDeferred, Record, WorkContext
from workers.handlers import Handlers
from workers.services import WorkerServices

_log = get_logger(__name__)

INTERNAL_ERROR = "internal_error"
"""A defect of ours; the log has the traceback."""

_SETTLE_ATTEMPTS = 5
"""How often the end of a job is written before the lease is left to expire; with the waits, about 15 seconds."""


class Runner:
    """Runs jobs by id; one for a process, called from many threads."""

    def __init__(self, name: str, handlers: Handlers, services: WorkerServices, keeper: LeaseKeeper) -> None:
        self._name, self._handlers, self._services, self._keeper = name[:48], handlers, services, keeper
        self._database = services.database
        self._retry = RetryPolicy(services.settings.retry_delay)
        self._last_notification = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Time since the last notification arrived."""
        return time.monotonic() - self._last_notification

    def run(self, job_id: str) -> None:
        """Claim the job and do it; returns quietly when it is not to be had. Never raises for what a job did."""
        self._last_notification = time.monotonic()
        try:
            claim = transitions.claim(self._database, job_id, self._name, self._services.settings.lease)
        except DatabaseUnavailable as error:
            # The job is still queued there; the reconciler wakes a worker once the database is back.
            _log.warning("claim_failed", job_id=job_id, error=str(error))
            return
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(job_id=claim.job_id, request_id=claim.request_id):
            job = self._keeper.hold(claim)
            try:
                self._attempt(job)
            finally:
                self._keeper.release(job)
                self._last_notification = time.monotonic()

    def _attempt(self, job: LeasedJob) -> None:
        claim = job.claim
        started = time.perf_counter()
        try:
            handle = self._handlers.of(claim.kind)
            record = handle(WorkContext(job, self._database, self._services.storage, self._services.events))
            self._succeed(claim, record, started)
        except JobDeferred as deferral:
            self._settle_in_transaction(deferral.record)
        except Cancelled:
            self._stop(job)
        except LeaseLost:
            _log.warning("result_dropped", reason="lease lost")
        except ServiceError as error:
            self._fail(claim, error.code, str(error), self._retry if error.transient else NEVER)
        except CodecError as error:
            self._fail(claim, error.code, str(error), NEVER)
        except Exception as error:  # noqa: BLE001 - a defect must end as a failed job, not as a lost one
            _log.exception("job_crashed", kind=claim.kind)
            self._fail(claim, INTERNAL_ERROR, f"{type(error).__name__}: {error}", self._retry)

    def _succeed(self, claim: Claim, record: Record | None, started: float) -> None:
        def _write() -> None:
            if record is None:
                transitions.succeed_alone(self._database, claim, {"job": time.perf_counter() - started})
                return
            with self._database.write() as session:
                transitions.lock(session, claim)
                seconds = record(session)
                transitions.succeed(session, claim, seconds | {"job": time.perf_counter() - started})

        self._settle(_write)

    def _stop(self, job: LeasedJob) -> None:
        """End a job that did not go on, according to who stopped it."""
        claim = job.claim
        if job.lost:
            _log.warning("result_dropped", reason="lease lost")
        elif job.cancel_requested:
            self._settle_in_transaction(lambda session: transitions.cancel_running(session, claim))
        else:
            self._settle_in_transaction(lambda session: transitions.requeue(session, claim, count_attempt=False))
            try:
                outbox.flush_outbox(self._database, self._services.broker)
            except ServiceError as error:
                _log.warning("notifications_delayed", error=str(error))  # the reconciler sends them

    def _fail(self, claim: Claim, code: str, message: str, policy: RetryPolicy) -> None:
        _log.warning("attempt_failed", code=code, error=message, attempt=claim.attempt)
        self._settle_in_transaction(lambda session: transitions.retry(session, claim, policy, code, message))

    def _settle_in_transaction(self, write: Callable[[Session], None]) -> None:
        def _write() -> None:
            with self._database.write() as session:
                write(session)

        self._settle(_write)

    def _settle(self, write: Callable[[], None]) -> None:
        """Write the end of an attempt, through a short outage of the database."""
        for attempt in range(1, _SETTLE_ATTEMPTS + 1):
            try:
                write()
                return
            except LeaseLost:
                _log.warning("result_dropped", reason="lease lost")
                return
            except DatabaseUnavailable as error:
                _log.warning("end_not_recorded", attempt=attempt, error=str(error))
                if attempt < _SETTLE_ATTEMPTS:  # else the lease expires, and the job is done again
                    time.sleep(2 ** (attempt - 1) * 0.5)
