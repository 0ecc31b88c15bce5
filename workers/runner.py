"""One job from wake-up to recorded end: claim, work, record. Delivered twice, killed anywhere, it ends once."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from codec.errors import Cancelled, CodecError
from core.broker import Broker
from core.database import Database
from core.errors import DatabaseUnavailable, LeaseLost, ServiceError
from core.events import EventLog
from core.jobs import outbox, repository
from core.jobs.lease import LeasedJob, LeaseKeeper
from core.jobs.records import put_back, update_owner
from core.jobs.repository import Claim
from core.logging import get_logger
from core.settings import WorkerSettings
from core.storage import Storage
from models.job import JobState
from workers.context import JobDeferred, WorkContext
from workers.handlers import Handlers

_log = get_logger(__name__)

INTERNAL_ERROR = "internal_error"
"""A defect of ours; the log has the traceback."""

_SETTLE_ATTEMPTS = 5
"""How often the end of a job is written before the lease is left to expire; with the waits, about 15 seconds."""


class Runner:
    """Does jobs by id; one for a process, called from many threads."""

    def __init__(
        self,
        name: str,
        bench: Handlers,
        database: Database,
        storage: Storage,
        wake_ups: Broker,
        events: EventLog,
        keeper: LeaseKeeper,
        settings: WorkerSettings,
    ) -> None:
        self._name, self._bench = name[:48], bench
        self._database, self._storage, self._wake_ups = database, storage, wake_ups
        self._events, self._keeper, self._settings = events, keeper, settings
        self._last_wake_up = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Time since the last wake-up arrived."""
        return time.monotonic() - self._last_wake_up

    def run(self, job_id: str) -> None:
        """Claim the job and do it; returns quietly when it is not to be had. Never raises for what a job did."""
        self._last_wake_up = time.monotonic()
        try:
            claim = repository.claim(self._database, job_id, self._name, self._settings.lease)
        except DatabaseUnavailable as error:
            # The job is still queued there; the reconciler wakes somebody once the database is back.
            _log.warning("claim_failed", job_id=job_id, error=str(error))
            return
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(job_id=claim.job_id, request_id=claim.request_id):
            held = self._keeper.hold(claim)
            try:
                self._attempt(held)
            finally:
                self._keeper.release(held)
                self._last_wake_up = time.monotonic()

    def _attempt(self, held: LeasedJob) -> None:
        claim = held.claim
        started = time.perf_counter()
        self._announce(claim, JobState.RUNNING)
        try:
            record = self._bench.work_for(claim.kind)(WorkContext(held, self._database, self._storage, self._events))

            def _finish() -> None:
                if record is None:
                    repository.succeed_alone(self._database, claim, {"job": time.perf_counter() - started})
                    return
                with self._database.write() as session:
                    repository.hold(session, claim)
                    seconds = record(session)
                    repository.succeed(session, claim, seconds | {"job": time.perf_counter() - started})

            self._settle(claim, JobState.SUCCEEDED, _finish)
        except JobDeferred as wait:
            self._put_off(claim, wait)
        except Cancelled:
            self._stop(held)
        except LeaseLost:
            _log.warning("result_dropped", reason="lease lost")
        except ServiceError as error:
            self._give_up(claim, error.code, str(error), try_again=error.transient)
        except CodecError as error:
            self._give_up(claim, error.code, str(error), try_again=False)
        except Exception as error:  # noqa: BLE001 - a defect must end as a failed job, not as a lost one
            _log.exception("job_crashed", kind=claim.kind)
            self._give_up(claim, INTERNAL_ERROR, f"{type(error).__name__}: {error}", try_again=True)

    def _put_off(self, claim: Claim, wait: JobDeferred) -> None:
        def _queue() -> None:
            with self._database.write() as session:
                wait.record(session)

        self._settle(claim, JobState.QUEUED, _queue)

    def _stop(self, held: LeasedJob) -> None:
        """End a job that was told to stop, according to who told it."""
        claim = held.claim
        if held.lost:
            _log.warning("result_dropped", reason="lease lost")
        elif held.cancel_requested:

            def _cancel() -> None:
                with self._database.write() as session:
                    repository.cancel_running(session, claim)
                    update_owner(session, claim, JobState.CANCELLED)

            self._settle(claim, JobState.CANCELLED, _cancel)
        else:
            self._put_back(claim, timedelta(0), None, None, count_attempt=False)

    def _give_up(self, claim: Claim, code: str, message: str, *, try_again: bool) -> None:
        _log.warning("attempt_failed", code=code, error=message, attempt=claim.attempt)
        if try_again and not claim.is_last_attempt:
            delay = self._settings.retry_delay * 2 ** (claim.attempt - 1)
            self._put_back(claim, delay, code, message, count_attempt=True)
            return

        def _fail() -> None:
            with self._database.write() as session:
                repository.fail(session, claim, code, message)
                update_owner(session, claim, JobState.FAILED)

        self._settle(claim, JobState.FAILED, _fail, {"error": {"code": code, "message": message[:1000]}})

    def _put_back(
        self, claim: Claim, delay: timedelta, code: str | None, message: str | None, *, count_attempt: bool
    ) -> None:
        def _queue() -> None:
            with self._database.write() as session:
                put_back(session, claim, delay=delay, code=code, message=message, count_attempt=count_attempt)

        self._settle(claim, JobState.QUEUED, _queue)
        if not delay:
            try:
                outbox.flush_outbox(self._database, self._wake_ups)
            except ServiceError as error:
                _log.warning("wake_ups_delayed", error=str(error))  # the reconciler sends them

    def _settle(
        self, claim: Claim, state: JobState, write: Callable[[], None], news: dict[str, object] | None = None
    ) -> None:
        """Write the end of an attempt, through a short outage of the database."""
        for attempt in range(1, _SETTLE_ATTEMPTS + 1):
            try:
                write()
                break
            except LeaseLost:
                _log.warning("result_dropped", reason="lease lost")
                return
            except DatabaseUnavailable as error:
                _log.warning("end_not_recorded", attempt=attempt, error=str(error))
                if attempt == _SETTLE_ATTEMPTS:
                    return  # the lease expires, and the job is done again
                time.sleep(2 ** (attempt - 1) * 0.5)
        self._announce(claim, state, news)

    def _announce(self, claim: Claim, state: JobState, news: dict[str, object] | None = None) -> None:
        self._events.publish(claim.job_id, "state", {"state": str(state), "attempt": claim.attempt} | (news or {}))
