"""The reference mode's trial encodings while the picture is still being described, when a processor is free."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from PIL import Image

from codec.encode.coarse.ref import ReferenceChoice, ReferenceSearch
from codec.errors import Cancelled

_USUAL_OVERHEAD_BYTES = 60
"""Of the built-in describer's texts and maps, and the container."""


class EarlySearch:
    """A search for the reference that may begin before it is known what the rest of the file takes."""

    def __init__(self, picture: Image.Image, codec: str, before_trial: Callable[[], None]) -> None:
        """The same as of ReferenceSearch; `before_trial` is called in another thread too."""
        self._picture, self._codec, self._before_trial = picture, codec, before_trial
        self._pool = ThreadPoolExecutor(1)
        self._begun: list[Future[ReferenceChoice]] = []
        self._search: ReferenceSearch | None = None
        self._is_over = threading.Event()

    def __enter__(self) -> "EarlySearch":
        """Use it in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread after the trial that it is at."""
        self._is_over.set()
        self._pool.shutdown()

    def begin(self, max_bpp: float | None) -> None:
        """Make the trials that a file with usual texts needs."""
        self._begun.append(self._pool.submit(lambda: self._opened().choose(max_bpp, _USUAL_OVERHEAD_BYTES)))

    def search(self) -> ReferenceSearch:
        """The search, with all its trials so far. What went wrong in them is left to the choice that counts."""
        wait(self._begun)
        return self._opened()

    def _opened(self) -> ReferenceSearch:
        if self._search is None:
            self._search = ReferenceSearch(self._picture, self._codec, self._check)
        return self._search

    def _check(self) -> None:
        if self._is_over.is_set():
            raise Cancelled("The encode ended before its reference was found.")
        self._before_trial()
