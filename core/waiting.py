"""Tells in the log what a process waits for while it starts, so that nobody takes it for one that hangs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial

from core.background import Periodic
from core.logging import get_logger

_log = get_logger(__name__)

SILENCE_SECONDS = 5.0
"""After this time without a word people begin to wonder."""


@contextmanager
def awaited(what: str) -> Iterator[None]:
    """While the block runs, a line every five seconds that names what it waits for."""
    began = time.monotonic()

    def _tell() -> None:
        _log.info("waiting", waits_for=what, seconds=round(time.monotonic() - began))

    # The line names the process as all others do, by what is bound to the context of whoever waits.
    teller = Periodic("awaited", SILENCE_SECONDS, partial(copy_context().run, _tell))
    teller.start()
    try:
        yield
    finally:
        teller.close()
