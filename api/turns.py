"""Turns of uploads: few are worked on at a time; one whose turn does not come soon is refused before any work is done.

So the time that an accepted upload takes is bounded however many come, and looks at jobs find threads that are free.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from anyio import CapacityLimiter, fail_after

from core.errors import Overloaded

_AT_ONCE = 8
"""Enough to wait for store and database at the same time, few enough to share one interpreter."""


class UploadTurns:
    """Lets uploads be worked on in the order in which they came."""

    def __init__(self, longest_wait: timedelta, at_once: int = _AT_ONCE) -> None:
        """An upload waits for its turn for so long at most."""
        self._longest_wait_seconds = longest_wait.total_seconds()
        self._limiter = CapacityLimiter(at_once)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A block that does the work of one upload; raises Overloaded when others are worked on for too long."""
        try:
            with fail_after(self._longest_wait_seconds):
                await self._limiter.acquire()
        except TimeoutError:
            raise Overloaded("More pictures and streams come than can be taken in. Send it again later.") from None
        try:
            yield
        finally:
            self._limiter.release()
