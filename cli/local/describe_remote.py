"""Asks a language model about pictures on this machine, many at a time, and never twice about the same one.

Answers lie in a small database in the user's data folder, so that a second run over a folder buys nothing again.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from PIL import Image

from cli.local.batch_asking import BatchBuyer
from cli.local.local_pace import LocalRateLimiter
from cli.output import progress_bar
from codec.encode.describe.choose import Asked, ask
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.view import View
from codec.encode.parts import EncodeDependencies, Fallback
from codec.errors import CodecError
from codec.picture.open import open_picture
from core.database import Database
from core.describing.budget import Budget
from core.describing.cache import DescriptionCache
from core.settings import DatabaseSettings, LMMSettings
from migrations.upgrade import upgrade
from workers.encode.resources import DescriptionBook, ledger_of, server_of

_THREADS = 32
"""Requests under way at once; the limits of the settings hold besides."""

_OPENED_AT_ONCE = 2
"""Pictures of up to 300 MB each in memory while they are reduced to what the model is shown."""

_CLAIM = timedelta(seconds=30)

Outcome = Asked | CodecError | OSError
"""How asking about one picture ended; an error is that of the picture's file."""


def ask_all(
    sources: Sequence[Path], lmm: LMMSettings, folder: Path, *, in_batches: bool = False
) -> dict[Path, Outcome]:
    """Ask about each picture; with `in_batches` through the Batch API first, and directly about what that leaves.

    Ctrl-C leaves what was answered until then in the database in `folder`, and batches under way in a file beside it.
    Raises DescriberError children for settings that cannot be used, and for what stands in the way of a batch.
    """
    sources = list(dict.fromkeys(sources))
    stop = threading.Event()
    with _books(lmm, folder) as books:
        if in_batches:
            _buy_in_batches(sources, lmm, folder, books, stop.is_set)
        pace = LocalRateLimiter(lmm.requests_per_minute, lmm.tokens_per_minute, books.ledger)
        client = OpenAIDescriber(server_of(lmm), books.book, pace)
        parts = EncodeDependencies(describer=client, fallback=Fallback(lmm.fallback))
        slots = threading.Semaphore(_OPENED_AT_ONCE)

        def _ask(source: Path) -> Outcome:
            try:
                with slots:
                    view = View.of(open_picture(source), lmm.longest_edge_px)
                return ask(Image.frombytes("RGB", (view.width, view.height), view.pixels), parts, stop.is_set)
            except (CodecError, OSError) as error:
                return error

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="ask") as pool:
            try:
                return _gather({source: pool.submit(_ask, source) for source in sources})
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                client.close()


def _gather(futures: dict[Path, Future[Outcome]]) -> dict[Path, Outcome]:
    with progress_bar(len(futures), "Describing") as bar:
        for _ in as_completed(futures.values()):
            bar.advance("")
    return {source: future.result() for source, future in futures.items()}


@dataclass(frozen=True)
class _Books:
    """Where bought answers and spent money are kept."""

    book: DescriptionBook
    ledger: Budget | None


@contextmanager
def _books(lmm: LMMSettings, folder: Path) -> Iterator[_Books]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = DatabaseSettings(url=f"sqlite:///{folder / 'descriptions.db'}")
    upgrade(settings)
    database = Database(settings)
    answers = DescriptionCache(database, _CLAIM)
    answers.start()
    try:
        yield _Books(DescriptionBook(answers), ledger_of(database, lmm))
    finally:
        answers.close()
        database.close()


def _buy_in_batches(
    sources: Sequence[Path], lmm: LMMSettings, folder: Path, books: _Books, cancelled: Callable[[], bool]
) -> None:
    batches = OpenAIBatches(server_of(lmm))
    poll_seconds = lmm.batch_poll.total_seconds()
    try:
        BatchBuyer(batches, books.book, books.ledger, folder / "batches.json", cancelled, poll_seconds).buy(sources)
    finally:
        batches.close()
