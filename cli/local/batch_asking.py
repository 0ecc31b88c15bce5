"""Buys descriptions for a folder of pictures through the Batch API: half the price, within a day, across restarts.

What is under way is written down before it is relied on, so that the same command, given again after a Ctrl-C or a
crash, goes on with the same batches. Answers go into the book; who is not in it afterwards is asked directly.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cli.output import say
from codec.atomic_files import write_atomically
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.batch_state import MAX_FILE_BYTES, MAX_LINES, BatchLine, BatchState
from codec.encode.describe.lmm.ports import Answer, AnswerBook
from codec.errors import CodecError, DescriberUnavailable
from codec.picture.open import open_picture
from core.describing.budget import Budget, Reservation

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Batch:
    """One batch under way. `keys` are those of the pictures; `batch_id` is empty until the server has named it."""

    file_id: str
    batch_id: str
    keys: tuple[str, ...]
    reserved: Reservation | None


class BatchBuyer:
    """Everything that buying in batches takes; `poll_seconds` is the time between two looks at a batch."""

    def __init__(
        self,
        batches: OpenAIBatches,
        book: AnswerBook,
        ledger: Budget | None,
        notes: Path,
        cancelled: Callable[[], bool],
        poll_seconds: float,
    ) -> None:
        """`notes` is the file in which batches under way are written down."""
        self._batches, self._book, self._ledger = batches, book, ledger
        self._notes, self._cancelled, self._poll_seconds = notes, cancelled, poll_seconds

    def buy(self, sources: Sequence[Path]) -> None:
        """Have the answers of these pictures in the book as far as the server gives them; returns when no batch is
        under way any more. Raises DescriberError children and Cancelled, with what is under way written down."""
        under_way = self._read_notes()
        taken = {key for batch in under_way for key in batch.keys}
        for lines in _filled(self._wanted(sources, taken)):
            under_way.append(self._submit(lines, under_way))
        while under_way:
            if not under_way[0].batch_id:
                # Also after a crash in between: a batch that was made for this file is found, not made again.
                batch_id = self._batches.create(under_way[0].file_id, self._cancelled)
                under_way[0] = replace(under_way[0], batch_id=batch_id)
                self._write_notes(under_way)
            self._collect(under_way[0])
            del under_way[0]
            self._write_notes(under_way)

    def _wanted(self, sources: Sequence[Path], taken: set[str]) -> Iterator[BatchLine]:
        """A line for each picture that is neither in the book nor under way."""
        for source in sources:
            try:
                line = self._batches.line(open_picture(source))
            except (CodecError, OSError):
                continue  # told when the picture is encoded
            if line.key in taken or self._book.claim(line.key, self._cancelled) is not None:
                continue
            # Nobody else buys on this machine while the batch is being put together; then the notes say so.
            self._book.release(line.key)
            taken.add(line.key)
            yield line

    def _submit(self, lines: list[BatchLine], under_way: list[_Batch]) -> _Batch:
        reserved = None
        if self._ledger is not None:
            reserved = self._ledger.reserve(sum(line.cost for line in lines), self._cancelled)
        file_id = self._batches.upload((line.data for line in lines), self._cancelled)
        batch = _Batch(file_id, "", tuple(line.key for line in lines), reserved)
        self._write_notes([*under_way, batch])
        return batch

    def _collect(self, batch: _Batch) -> None:
        say(
            f"Batch {batch.batch_id} of {len(batch.keys)} pictures is under way, which may take a day. "
            "Ctrl-C leaves it so, and the same command goes on with it."
        )
        while (status := self._batches.poll(batch.batch_id, self._cancelled)).state is BatchState.PENDING:
            self._wait()
        spent = 0.0
        for key, outcome in self._batches.results(status, self._cancelled):
            if key in batch.keys and isinstance(outcome, Answer):
                self._book.keep(key, outcome)
                spent += outcome.usage.cost
        if self._ledger is not None and batch.reserved is not None:
            self._ledger.settle(batch.reserved, spent)
        if status.state is not BatchState.SUCCEEDED:
            say(f"Batch {batch.batch_id} ended as {status.state}: {status.message or 'the server gave no reason'}")

    def _wait(self) -> None:
        until = time.monotonic() + self._poll_seconds
        while (left := until - time.monotonic()) > 0 and not self._cancelled():
            time.sleep(min(left, _LOOK_SECONDS))

    def _read_notes(self) -> list[_Batch]:
        if not self._notes.exists():
            return []
        try:
            return [
                _Batch(
                    entry["file_id"],
                    entry["batch_id"],
                    tuple(entry["keys"]),
                    None if entry["reserved"] is None else Reservation(**entry["reserved"]),
                )
                for entry in json.loads(self._notes.read_text())
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise DescriberUnavailable(f"{self._notes} is damaged ({error}); see it, and remove it.") from None

    def _write_notes(self, under_way: list[_Batch]) -> None:
        write_atomically(self._notes, json.dumps([asdict(batch) for batch in under_way]).encode())


def _filled(lines: Iterable[BatchLine]) -> Iterator[list[BatchLine]]:
    """The lines in as few batches as hold them."""
    batch: list[BatchLine] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == MAX_LINES or size + len(line.data) > MAX_FILE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.data)
    if batch:
        yield batch
