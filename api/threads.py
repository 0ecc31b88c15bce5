"""Threads by what they wait for: a store that hangs keeps none of those that ask the database.

Endpoints that only ask the database run in the server's own pool.
"""

from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from core.errors import StorageUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 32
_WAITING = 64
"""As many calls as may wait for a thread; with a store that answers in 10 s at worst, 20 s for the last of them."""


class StorageThreads:
    """The threads that wait for the store, and a bounded number of calls that wait for them."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_THREADS)

    async def run(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call in a thread; raises StorageUnavailable at once where too many calls wait already."""
        if self._limiter.statistics().tasks_waiting >= _WAITING:
            raise StorageUnavailable("The store answers too slowly for all who wait for it.")
        return await to_thread.run_sync(partial(function, *arguments, **keywords), limiter=self._limiter)

    async def iterate(self, chunks: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
        """The chunks, each read in a thread; what they come from is closed with them."""
        try:
            while (chunk := await self.run(next, chunks, None)) is not None:
                yield chunk
        finally:
            chunks.close()
