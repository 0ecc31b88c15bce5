"""Waiting that stops soon after somebody asks to stop."""

import time
from collections.abc import Callable

from codec.errors import Cancelled

GLANCE_SECONDS = 0.1
"""How often a wait looks whether it is still wanted."""


def wait(seconds: float, cancelled: Callable[[], bool], reason: str) -> None:
    """Sleep; raises Cancelled with the reason, a sentence, within `GLANCE_SECONDS` of `cancelled` turning True."""
    end = time.monotonic() + seconds
    while True:
        if cancelled():
            raise Cancelled(reason)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, GLANCE_SECONDS))
