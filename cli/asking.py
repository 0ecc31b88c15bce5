"""Asks a language model about pictures on this machine, many at a time, and never twice about the same one.

Answers lie in a small database in the user's data folder, so that a second run over a folder buys nothing again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from PIL import Image

from cli.output import progress_bar
from codec.encode.describe.choose import Asked, ask
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.view import View
from codec.encode.parts import EncodeParts, Fallback
from codec.errors import Cancelled, CodecError
from codec.picture.open import open_picture
from core.answers import SharedAnswers
from core.database import Database
from core.settings import DatabaseSettings, LMMSettings
from core.spending import Reserved, SpendingLedger
from migrations.upgrade import upgrade
from workers.encode.parts import DescriptionBook, ledger_of, server_of

_THREADS = 32
"""Requests under way at once; the limits of the settings hold besides."""

_OPENED_AT_ONCE = 2
"""Pictures of up to 300 MB each in memory while they are reduced to what the model is shown."""

_WINDOW_SECONDS, _LOOK_SECONDS = 62.0, 0.2
"""A minute and what a request may take to arrive; how often somebody who waits looks whether to stop."""

_CLAIM = timedelta(seconds=30)

Outcome = Asked | CodecError | OSError
"""How asking about one picture ended; an error is that of the picture's file."""


def ask_all(sources: Sequence[Path], lmm: LMMSettings, folder: Path) -> dict[Path, Outcome]:
    """Ask about each picture; raises DescriberMisconfigured for settings that cannot be used.

    Ctrl-C leaves what was answered until then in the database in `folder`.
    """
    stop = threading.Event()
    slots = threading.Semaphore(_OPENED_AT_ONCE)
    with _parts(lmm, folder) as parts, ThreadPoolExecutor(_THREADS, thread_name_prefix="ask") as pool:

        def _ask(source: Path) -> Outcome:
            try:
                with slots:
                    view = View.of(open_picture(source), lmm.longest_edge_px)
                return ask(Image.frombytes("RGB", (view.width, view.height), view.pixels), parts, stop.is_set)
            except (CodecError, OSError) as error:
                return error

        try:
            futures = {pool.submit(_ask, source): source for source in dict.fromkeys(sources)}
            outcomes = {}
            with progress_bar(len(futures), "Describing") as bar:
                for future in as_completed(futures):
                    outcomes[futures[future]] = future.result()
                    bar.advance("")
            return outcomes
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _parts(lmm: LMMSettings, folder: Path) -> Iterator[EncodeParts]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = DatabaseSettings(url=f"sqlite:///{folder / 'descriptions.db'}")
    upgrade(settings)
    database = Database(settings)
    answers = SharedAnswers(database, _CLAIM)
    answers.start()
    pace = LocalPace(lmm.requests_per_minute, lmm.tokens_per_minute, ledger_of(database, lmm))
    client = OpenAIDescriber(server_of(lmm), DescriptionBook(answers), pace)
    try:
        yield EncodeParts(describer=client, fallback=Fallback(lmm.fallback))
    finally:
        client.close()
        answers.close()
        database.close()


class LocalPace:
    """The codec's Pace for the threads of one process: requests and tokens in any minute, pauses, money."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int, ledger: SpendingLedger | None) -> None:
        """0 is no limit."""
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._ledger = ledger
        self._turns: deque[_Turn] = deque()
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "_Turn":
        """See Pace. A request of more tokens than a minute allows is sent when nothing else was sent for a minute."""
        reserved = None if self._ledger is None else self._ledger.reserve(cost, cancelled)
        try:
            while (turn := self._try(tokens, reserved)) is None:
                if cancelled():
                    raise Cancelled("Stopped while waiting for a turn at the language model.")
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            if self._ledger is not None and reserved is not None:
                self._ledger.settle(reserved, 0.0)
            raise
        return turn

    def pause(self, seconds: float) -> None:
        """See Pace."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _try(self, tokens: int, reserved: Reserved | None) -> "_Turn | None":
        with self._lock:
            now = time.monotonic()
            while self._turns and self._turns[0].began <= now - _WINDOW_SECONDS:
                self._turns.popleft()
            used = sum(turn.tokens for turn in self._turns)
            is_full = bool(self._requests) and len(self._turns) >= self._requests
            is_spent = bool(self._tokens) and bool(self._turns) and used + tokens > self._tokens
            if now < self._paused_until or is_full or is_spent:
                return None
            turn = _Turn(now, tokens, reserved, self._ledger)
            self._turns.append(turn)
            return turn


class _Turn:
    """One request's share of the limits."""

    def __init__(self, began: float, tokens: int, reserved: Reserved | None, ledger: SpendingLedger | None) -> None:
        self.began, self.tokens = began, tokens
        self._reserved, self._ledger = reserved, ledger

    def settle(self, tokens: int, cost: float) -> None:
        """See Reservation."""
        self.tokens = tokens
        self._pay(cost)

    def cancel(self) -> None:
        """See Reservation."""
        self._pay(0.0)

    def _pay(self, cost: float) -> None:
        if self._ledger is not None and self._reserved is not None:
            self._ledger.settle(self._reserved, cost)
