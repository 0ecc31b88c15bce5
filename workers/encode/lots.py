"""Carries requests for descriptions to a language model's Batch API and the answers back, and survives any death.

Every step can be done again: what the server calls a file or a batch is written down before anything relies on it, a
batch that was made unheard is found by its file, and answers go into the book before the jobs are woken.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta

from codec.encode.describe.lmm.batch import MAX_LINES, BatchState, BatchStatus, OpenAIBatches, lines_that_fit
from codec.encode.describe.lmm.ports import Answer
from codec.errors import (
    BudgetExhausted,
    Cancelled,
    DescriberError,
    DescriberUnavailable,
    DescriptionRefused,
    DescriptionUnusable,
)
from core.background import Periodic
from core.broker import Broker
from core.database import Database
from core.describing import llm_batches as lots
from core.describing.budget import Budget, Reservation
from core.describing.cache import DescriptionCache
from core.describing.llm_batches import Line, Lot
from core.errors import ObjectNotFound
from core.logging import get_logger
from core.settings import LMMSettings
from core.storage import Storage
from models.base import JSONObject, new_id, utc_now
from workers.encode.resources import content_of

_log = get_logger(__name__)

_MAX_LINE_BYTES = 16 * 1024 * 1024
"""A picture of 4096 px as JPEG in base64 has less."""

_OUTCOMES_AT_ONCE = 500


class BatchDispatcher:
    """Makes a pass every `batch_poll` in one process of all; safe when two do it at once."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        broker: Broker,
        batches: OpenAIBatches,
        answers: DescriptionCache,
        ledger: Budget | None,
        settings: LMMSettings,
        *,
        lease: timedelta,
    ) -> None:
        """A process that is silent for the lease is taken for dead, and another one goes on with its lot."""
        self._database, self._storage, self._broker = database, storage, broker
        self._batches, self._answers, self._ledger, self._settings = batches, answers, ledger, settings
        self._lease = lease
        self._name = new_id("car")
        self._is_closed = False
        self._thread = Periodic("description-lots", settings.batch_poll.total_seconds(), self._lead_pass)

    def start(self) -> None:
        """Begin to make passes."""
        self._thread.start()

    def close(self) -> None:
        """End; what is under way is given up and done again by another process."""
        self._is_closed = True
        self._thread.close()

    def make_pass(self) -> None:
        """Gather what waits into a lot, and bring every lot a step further; raises ServiceError and Cancelled."""
        self._gather()
        for lot in lots.open_lots(self._database):
            with self._claimed(lot) as is_ours:
                if is_ours:
                    self._advance(lot)

    def _lead_pass(self) -> None:
        if not self._broker.acquire_leadership(
            "description-lots", self._name, self._settings.batch_poll.total_seconds() * 2.5
        ):
            return
        try:
            self.make_pass()
        except Cancelled:
            if not self._is_closed:
                raise

    def _gather(self) -> None:
        lots.forget_unwanted(self._database)
        lots.end_requests(self._database, dict.fromkeys(lots.answered(self._database)))
        lines, since = lots.waiting(self._database, MAX_LINES)
        if since is None:
            return
        is_due = utc_now() - since >= self._settings.batch_gather_age
        if len(lines) < self._settings.batch_gather_count and not is_due:
            return
        lines = lines[: max(1, lines_that_fit(line.size_bytes for line in lines))]
        try:
            reserved = self._reserve(sum(line.cost for line in lines))
        except BudgetExhausted as error:
            # The jobs ask for themselves, are told the same, and end as configured.
            _log.warning("description_lot_not_paid", lines=len(lines), error=str(error))
            lots.end_requests(self._database, dict.fromkeys(line.key for line in lines))
            return
        if lots.make_lot(self._database, lines, reserved):
            _log.info("description_lot_made", lines=len(lines))
        else:
            self._settle(reserved, 0.0)

    def _advance(self, lot: Lot) -> None:
        try:
            file_id = lot.file_id or self._upload(lot)
            batch_id = lot.batch_id or self._create(lot, file_id)
            status = self._batches.poll(batch_id, self._cancelled)
        except DescriberUnavailable as error:
            _log.warning("description_lot_delayed", lot=lot.id, error=str(error))
            if utc_now() - lot.created_at > self._settings.batch_patience:
                self._end(lot, 0.0)
            return
        except DescriberError as error:
            _log.error("description_lot_refused", lot=lot.id, code=error.code, error=str(error))
            self._end(lot, 0.0)
            return
        if status.state is BatchState.PENDING:
            # By then every job of it has given up waiting.
            if utc_now() - lot.created_at > 2 * self._settings.batch_patience:
                self._end(lot, 0.0)
            return
        try:
            cost = self._take_results(lot, status)
        except DescriberError as error:
            _log.warning("description_lot_delayed", lot=lot.id, error=str(error))
            if utc_now() - lot.created_at > self._settings.batch_patience:
                self._end(lot, 0.0)
            return
        _log.info("description_lot_ended", lot=lot.id, state=status.state, completed=status.completed)
        self._end(lot, cost)
        self._discard(file_id, status)

    def _upload(self, lot: Lot) -> str:
        file_id = self._batches.upload(self._read(lots.lines_of(self._database, lot.id)), self._cancelled)
        lots.note_sent(self._database, lot.id, file_id=file_id)
        return file_id

    def _create(self, lot: Lot, file_id: str) -> str:
        batch_id = self._batches.create(file_id, self._cancelled)
        lots.note_sent(self._database, lot.id, batch_id=batch_id)
        _log.info("description_lot_sent", lot=lot.id, batch=batch_id)
        return batch_id

    def _read(self, lines: list[Line]) -> Iterator[bytes]:
        for line in lines:
            try:
                yield self._storage.get(line.object_key, max_bytes=_MAX_LINE_BYTES)
            except ObjectNotFound:
                # Without a result its jobs ask for themselves.
                _log.warning("description_line_missing", object=line.object_key)

    def _take_results(self, lot: Lot, status: BatchStatus) -> float:
        """Write the answers into the book and wake the jobs, some at a time; returns what all of it cost."""
        # Only what this lot asked for is believed. What is not in it any more was dealt with before somebody died.
        most = {line.key: line.cost for line in lots.lines_of(self._database, lot.id)}
        cost = 0.0
        outcomes: dict[str, JSONObject | None] = {}
        for key, result in self._batches.results(status, self._cancelled):
            cost += result.usage.cost if isinstance(result, Answer) else 0.0
            if key not in most:
                continue
            if isinstance(result, Answer):
                self._answers.keep(key, content_of(result))
                outcomes[key] = asdict(result.usage)
            else:
                _log.warning("description_not_in_lot", code=result.code, error=str(result))
                outcomes[key] = None
                # Answers of no use are paid for; what was never answered is not.
                cost += most[key] if isinstance(result, DescriptionRefused | DescriptionUnusable) else 0.0
            if len(outcomes) >= _OUTCOMES_AT_ONCE:
                lots.end_requests(self._database, outcomes)
                outcomes = {}
        lots.end_requests(self._database, outcomes)
        return cost

    def _end(self, lot: Lot, cost: float) -> None:
        """Wake the jobs of what has no answer, and be done with the lot."""
        left: Mapping[str, None] = dict.fromkeys(line.key for line in lots.lines_of(self._database, lot.id))
        lots.end_requests(self._database, left)
        if lots.end_lot(self._database, lot.id):
            self._settle(lot.reserved, cost)

    def _discard(self, file_id: str, status: BatchStatus) -> None:
        files = [name for name in (file_id, status.output_file_id, status.error_file_id) if name is not None]
        try:
            self._batches.discard(files, self._cancelled)
        except DescriberError as error:
            _log.warning("description_files_left", files=files, error=str(error))

    def _reserve(self, cost: float) -> Reservation | None:
        return None if self._ledger is None else self._ledger.reserve(cost, self._cancelled)

    def _settle(self, reserved: Reservation | None, cost: float) -> None:
        if self._ledger is not None and reserved is not None:
            self._ledger.settle(reserved, cost)

    def _cancelled(self) -> bool:
        return self._is_closed

    @contextmanager
    def _claimed(self, lot: Lot) -> Iterator[bool]:
        """Have the lot to oneself for the block; uploads take minutes, so the claim is renewed meanwhile."""

        def renew() -> None:
            lots.claim(self._database, lot.id, self._name, self._lease)

        if not lots.claim(self._database, lot.id, self._name, self._lease):
            yield False
            return
        renewal = Periodic("description-lot-claim", self._lease.total_seconds() / 5, renew)
        renewal.start()
        try:
            yield True
        finally:
            renewal.close()
            lots.let_go(self._database, lot.id, self._name)
