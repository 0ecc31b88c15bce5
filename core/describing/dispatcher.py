"""Carries requests for descriptions to a language model's Batch API and the answers back, and survives any death.

Every step can be done again: what the server calls a file or a batch is written down before anything relies on it, a
batch whose making got lost is found by its file, and answers are in the cache before the jobs are woken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta

from codec.errors import (
    BudgetExhausted,
    Cancelled,
    DescriberError,
    DescriberUnavailable,
    DescriptionRefused,
    DescriptionUnusable,
)
from codec.language_model import MAX_BATCH_REQUESTS, Answer, BatchAPI, BatchState, BatchStatus, requests_that_fit
from core.background import Periodic
from core.broker import Broker
from core.database import Database
from core.describing import llm_batches
from core.describing.budget import Budget, Reservation
from core.describing.cache import DescriptionCache
from core.describing.llm_batches import BatchItem
from core.errors import ObjectNotFound
from core.logging import get_logger
from core.settings import LMMSettings
from models.base import JSONObject, new_id, utc_now
from models.llm_batch import LLMBatch

_log = get_logger(__name__)

_OUTCOMES_AT_ONCE = 500

ReadLine = Callable[[BatchItem], bytes]
"""The line of a request, as it goes into the batch's file; raises ObjectNotFound."""


class BatchDispatcher:
    """Brings every open batch forward, a pass at a time; safe when two processes do it at once."""

    def __init__(
        self,
        database: Database,
        api: BatchAPI,
        cache: DescriptionCache,
        budget: Budget | None,
        settings: LMMSettings,
        read_line: ReadLine,
        *,
        lease: timedelta,
        on_status: Callable[[LLMBatch, BatchStatus], None] | None = None,
    ) -> None:
        """A process that is silent for the lease is taken for dead, and another one goes on with its batch.
        `on_status` is given what the server says of a batch, whenever it is asked."""
        self._database, self._api, self._cache, self._budget = database, api, cache, budget
        self._settings, self._read_line, self._lease, self._on_status = settings, read_line, lease, on_status
        self._name = new_id("car")
        self._is_closed = False
        self._thread: Periodic | None = None

    def start(self, broker: Broker) -> None:
        """Make a pass every `batch_poll`, in one process of all that share the broker."""
        poll_seconds = self._settings.batch_poll.total_seconds()

        def lead_pass() -> None:
            if not broker.acquire_leadership("llm-batches", self._name, poll_seconds * 2.5):
                return
            try:
                self.make_pass()
            except Cancelled:
                if not self._is_closed:
                    raise

        self._thread = Periodic("llm-batches", poll_seconds, lead_pass)
        self._thread.start()

    def close(self) -> None:
        """End; what is under way is given up and done again by another process."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.close()

    def make_pass(self) -> list[DescriberError]:
        """Gather what waits into a batch, and bring every batch a step further; returns what stood in the way, which is
        logged and dealt with. Raises ServiceError and Cancelled."""
        failures = [self._gather()]
        for batch in llm_batches.open_batches(self._database):
            with self._claimed(batch) as is_ours:
                if is_ours:
                    failures.append(self._advance(batch))
        return [failure for failure in failures if failure is not None]

    def _gather(self) -> DescriberError | None:
        llm_batches.drop_unwanted(self._database)
        llm_batches.end_items(self._database, dict.fromkeys(llm_batches.keys_answered(self._database)))
        items, since = llm_batches.items_waiting(self._database, MAX_BATCH_REQUESTS)
        if since is None:
            return None
        is_due = utc_now() - since >= self._settings.batch_gather_age
        if len(items) < self._settings.batch_gather_count and not is_due:
            return None
        items = items[: max(1, requests_that_fit(item.size_bytes for item in items))]
        reservation: Reservation | None = None
        if self._budget is not None:
            try:
                reservation = self._budget.reserve(sum(item.cost for item in items), self._cancelled)
            except BudgetExhausted as error:
                # The jobs ask for themselves, learn the same, and end as configured.
                _log.warning("llm_batch_not_paid", requests=len(items), error=str(error))
                llm_batches.end_items(self._database, dict.fromkeys(item.key for item in items))
                return error
        if llm_batches.create(self._database, items, reservation):
            _log.info("llm_batch_created", requests=len(items))
        else:
            self._settle(reservation, 0.0)
        return None

    def _advance(self, batch: LLMBatch) -> DescriberError | None:
        file_id = batch.file_id
        try:
            file_id = file_id or self._upload(batch)
            status = self._api.poll(batch.batch_id or self._create(batch, file_id), self._cancelled)
        except DescriberError as error:
            return self._delay(batch, error, file_id, is_final=not isinstance(error, DescriberUnavailable))
        if self._on_status is not None:
            self._on_status(batch, status)
        if status.state is BatchState.PENDING:
            # By then every job of it has given up waiting.
            if utc_now() - batch.created_at > 2 * self._settings.batch_patience:
                self._end(batch, 0.0)
                self._discard(file_id)
            return None
        try:
            cost = self._collect(batch, status)
        except DescriberError as error:
            return self._delay(batch, error, file_id, is_final=False)
        _log.info("llm_batch_ended", llm_batch=batch.id, state=status.state, completed=status.completed)
        self._end(batch, cost)
        self._discard(file_id, status.output_file_id, status.error_file_id)
        return None

    def _delay(self, batch: LLMBatch, error: DescriberError, file_id: str | None, *, is_final: bool) -> DescriberError:
        """Leave the batch for a later pass, unless trying again cannot help or it is too old."""
        is_final = is_final or utc_now() - batch.created_at > self._settings.batch_patience
        _log.warning("llm_batch_failed", llm_batch=batch.id, is_final=is_final, code=error.code, error=str(error))
        if is_final:
            self._end(batch, 0.0)
            self._discard(file_id)
        return error

    def _upload(self, batch: LLMBatch) -> str:
        items = llm_batches.items_of(self._database, batch.id)
        file_id = self._api.upload(self._lines(items), self._cancelled)
        llm_batches.record_sent(self._database, batch.id, file_id=file_id)
        return file_id

    def _lines(self, items: list[BatchItem]) -> Iterator[bytes]:
        for item in items:
            try:
                yield self._read_line(item)
            except ObjectNotFound:
                # Without a result its jobs ask for themselves.
                _log.warning("llm_batch_line_missing", object=item.object_key)

    def _create(self, batch: LLMBatch, file_id: str) -> str:
        batch_id = self._api.create(file_id, self._cancelled)
        llm_batches.record_sent(self._database, batch.id, batch_id=batch_id)
        _log.info("llm_batch_sent", llm_batch=batch.id, batch=batch_id)
        return batch_id

    def _collect(self, batch: LLMBatch, status: BatchStatus) -> float:
        """Store the answers and wake the jobs, some at a time; returns what all of it cost."""
        # Only what this batch asked for is believed. What is not in it any more was dealt with before a process died.
        most = {item.key: item.cost for item in llm_batches.items_of(self._database, batch.id)}
        cost = 0.0
        outcomes: dict[str, JSONObject | None] = {}
        for key, result in self._api.results(status, self._cancelled):
            cost += result.usage.cost if isinstance(result, Answer) else 0.0
            if key not in most:
                continue
            if isinstance(result, Answer):
                self._cache.store(key, result)
                outcomes[key] = asdict(result.usage)
            else:
                _log.warning("description_not_in_batch", code=result.code, error=str(result))
                outcomes[key] = None if result.usage is None else asdict(result.usage)
                # Answers of no use are paid for; what was never answered, or refused before it was done, is not.
                if result.usage is not None:
                    cost += result.usage.cost
                elif isinstance(result, DescriptionRefused | DescriptionUnusable):
                    cost += most[key]
            if len(outcomes) >= _OUTCOMES_AT_ONCE:
                llm_batches.end_items(self._database, outcomes)
                outcomes = {}
        llm_batches.end_items(self._database, outcomes)
        return cost

    def _end(self, batch: LLMBatch, cost: float) -> None:
        """Wake the jobs of what has no answer, and be done with the batch."""
        unanswered = [item.key for item in llm_batches.items_of(self._database, batch.id)]
        llm_batches.end_items(self._database, dict.fromkeys(unanswered))
        if llm_batches.end(self._database, batch.id):
            self._settle(llm_batches.reservation_of(batch), cost)

    def _discard(self, *file_ids: str | None) -> None:
        """Delete what lies at the provider: pictures, and what was said of them."""
        files = [name for name in file_ids if name is not None]
        if not files:
            return
        try:
            self._api.discard(files, self._cancelled)
        except DescriberError as error:
            _log.warning("llm_batch_files_left", files=files, error=str(error))

    def _settle(self, reservation: Reservation | None, cost: float) -> None:
        if self._budget is not None and reservation is not None:
            self._budget.settle(reservation, cost)

    def _cancelled(self) -> bool:
        return self._is_closed

    @contextmanager
    def _claimed(self, batch: LLMBatch) -> Iterator[bool]:
        """Work on the batch alone for the block; uploads take minutes, so the claim is renewed meanwhile."""

        def claim() -> bool:
            return llm_batches.claim(self._database, batch.id, self._name, self._lease)

        if not claim():
            yield False
            return
        renewal = Periodic("llm-batch-claim", self._lease.total_seconds() / 5, claim)
        renewal.start()
        try:
            yield True
        finally:
            renewal.close()
            llm_batches.release(self._database, batch.id, self._name)
