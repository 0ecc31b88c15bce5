"""Describes pictures of this machine by a language model, many at a time, and never pays twice for the same one.

Answers, money and batches under way lie in a small database in the user's data folder, in the service's own tables: a
second run over a folder buys nothing again, and the same command, given again, goes on with its batches.
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from cli.output import progress_bar, say
from codec.encode.dependencies import EncodeDependencies, Fallback
from codec.encode.describe.choose import ModelOutcome, ask
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.view import View
from codec.errors import CodecError, DescriberUnavailable, DescriptionUnusable
from codec.language_model import BatchState, BatchStatus
from codec.picture.open import open_picture
from core.database import Database
from core.describing import llm_batches
from core.describing.budget import Budget, Reservation
from core.describing.cache import DescriptionCache
from core.describing.dispatcher import BatchDispatcher
from core.describing.llm_batches import BatchItem
from core.describing.rate_limit import LocalRateLimiter
from core.errors import ObjectNotFound
from core.logging import log_errors_only
from core.settings import DatabaseSettings, LMMSettings, sqlite_url
from migrations.upgrade import upgrade
from models.llm_batch import LLMBatch

_THREADS = 32
"""Requests under way at once; the limits of the settings hold besides."""

_OPENED_AT_ONCE = 2
"""Pictures of up to 300 MB each in memory while they are reduced to what the model is shown."""

_LEASE = timedelta(seconds=30)

_DATABASE_FILES = ("descriptions.db-wal", "descriptions.db-shm", "batches.json", "descriptions.db")

Outcome = ModelOutcome | CodecError | OSError
"""How describing one picture ended; an error is that of the picture's file."""


def describe_all(
    sources: Sequence[Path],
    lmm: LMMSettings,
    folder: Path,
    fallback: Fallback,
    *,
    earlier: Path | None = None,
    in_batches: bool = False,
) -> dict[Path, Outcome]:
    """Have each picture described; with `in_batches` through the Batch API first, and directly what that leaves.

    Ctrl-C leaves what was answered until then, and batches under way, in the database in `folder`. Earlier versions
    kept it in `earlier`, from where it is moved. Raises DescriberError children for settings that cannot be used, and
    for what stands in the way of a batch.
    """
    log_errors_only()
    sources = list(dict.fromkeys(sources))
    with _open_database(folder, earlier) as database:
        cache = DescriptionCache(database, _LEASE)
        cache.start()
        budget = Budget.from_settings(database, lmm)
        try:
            if in_batches:
                _describe_in_batches(sources, lmm, database, cache, budget)
            return _describe_directly(sources, lmm, cache, budget, fallback)
        finally:
            cache.close()


def _describe_directly(
    sources: Sequence[Path], lmm: LMMSettings, cache: DescriptionCache, budget: Budget | None, fallback: Fallback
) -> dict[Path, Outcome]:
    limiter = LocalRateLimiter(lmm.requests_per_minute, lmm.tokens_per_minute, budget)
    client = OpenAIDescriber(lmm.server, cache, limiter)
    dependencies = EncodeDependencies(describer=client, fallback=fallback)
    stop, slots = threading.Event(), threading.Semaphore(_OPENED_AT_ONCE)

    def _describe(source: Path) -> Outcome:
        try:
            with slots:
                view = View.of(open_picture(source), lmm.longest_edge_px)
            return ask(view.picture, dependencies, stop.is_set)
        except (CodecError, OSError) as error:
            return error

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="describe") as pool:
        try:
            return _gather({source: pool.submit(_describe, source) for source in sources})
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


def _describe_in_batches(
    sources: Sequence[Path], lmm: LMMSettings, database: Database, cache: DescriptionCache, budget: Budget | None
) -> None:
    """Have the answers of these pictures in the cache as far as the server gives them, and of all batches that an
    earlier command left."""
    batches = OpenAIBatches(lmm.server)
    source_of: dict[str, Path] = {}

    def _line(item: BatchItem) -> bytes:
        # Made again instead of kept: a folder's requests are larger than its pictures' small views.
        if item.key in source_of:
            request = batches.request(open_picture(source_of[item.key]))
            if request.key == item.key:
                return request.data
        raise ObjectNotFound(f"The picture of request {item.key} is not among those of this command.")

    announced: set[str] = set()

    def _say_status(batch: LLMBatch, status: BatchStatus) -> None:
        if status.state is BatchState.PENDING and status.batch_id not in announced:
            announced.add(status.batch_id)
            say(
                f"Batch {status.batch_id} of {len(llm_batches.items_of(database, batch.id))} pictures is under way, "
                "which may take a day. Ctrl-C leaves it so, and the same command goes on with it."
            )
        elif status.state not in (BatchState.PENDING, BatchState.SUCCEEDED):
            say(f"Batch {status.batch_id} ended as {status.state}: {status.message or 'the server gave no reason'}")

    at_once = lmm.model_copy(update={"batch_gather_count": 1})
    dispatcher = BatchDispatcher(database, batches, cache, budget, at_once, _line, lease=_LEASE, on_status=_say_status)
    try:
        for source in sources:
            try:
                request = batches.request(open_picture(source))
            except (CodecError, OSError):
                continue  # reported when the picture is encoded
            source_of[request.key] = source
            if cache.get(request.key) is None:
                with database.write() as session:
                    llm_batches.enqueue(session, BatchItem(request.key, "", len(request.data), request.cost))
        while not llm_batches.is_idle(database):
            for failure in dispatcher.make_pass():
                # A command that was stopped left requests whose pictures are not among these; they are over now.
                if not isinstance(failure, DescriptionUnusable):
                    raise failure
            if not llm_batches.is_idle(database):
                _wait(lmm.batch_poll.total_seconds())
    finally:
        batches.close()


def _wait(seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def _open_database(folder: Path, earlier: Path | None) -> Iterator[Database]:
    folder.mkdir(parents=True, exist_ok=True)
    if earlier is not None and not (folder / "descriptions.db").exists():
        for name in _DATABASE_FILES:
            if (earlier / name).exists():
                (earlier / name).replace(folder / name)
    settings = DatabaseSettings(url=sqlite_url(folder / "descriptions.db"))
    upgrade(settings)
    database = Database(settings)
    try:
        _adopt_notes(database, folder / "batches.json")
        yield database
    finally:
        database.close()


def _adopt_notes(database: Database, notes: Path) -> None:
    """Take over the batches under way that earlier versions wrote down in a file beside the database."""
    if not notes.exists():
        return
    try:
        with database.write() as session:
            for entry in json.loads(notes.read_text()):
                reservation = None if entry["reserved"] is None else Reservation(**entry["reserved"])
                items = [BatchItem(key, "", 0, 0.0) for key in entry["keys"]]
                llm_batches.adopt(session, entry["file_id"], entry["batch_id"] or None, reservation, items)
    except (ValueError, KeyError, TypeError) as error:
        raise DescriberUnavailable(f"{notes} is damaged ({error}); see it, and remove it.") from None
    notes.unlink()
