"""The two kinds of thread that every process keeps: one that acts at intervals, one that gathers and then acts.

Neither ends by an error: what a pass could not do is logged, and the next one tries again.
"""

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from core.errors import ServiceError
from core.logging import get_logger

_log = get_logger(__name__)

_END_SECONDS = 5.0
"""How long a closing process waits for a thread to finish what it is doing."""

ItemT = TypeVar("ItemT")


class Periodic:
    """Calls `act` every `seconds` until it is closed."""

    def __init__(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        self._name, self._seconds, self._act = name, seconds, act
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after the first interval."""
        self._thread.start()

    def close(self) -> None:
        """End after the call that is under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            _attempt(self._name, self._act)


class MicroBatcher(Generic[ItemT]):
    """Hands what arrives within a moment to one call of `act`, in order, from one thread."""

    def __init__(self, name: str, moment_seconds: float, limit: int, act: Callable[[list[ItemT]], None]) -> None:
        self._name, self._moment_seconds, self._limit, self._act = name, moment_seconds, limit, act
        self._arrived: queue.SimpleQueue[ItemT | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to act."""
        self._thread.start()

    def put(self, item: ItemT) -> None:
        """Take one more; returns at once."""
        self._arrived.put(item)

    def close(self) -> None:
        """Act on what is left, then end."""
        self._arrived.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=_END_SECONDS)

    def _run(self) -> None:
        while (first := self._arrived.get()) is not None:
            time.sleep(self._moment_seconds)
            gathered = [first]
            ended = False
            while not ended and len(gathered) < self._limit and not self._arrived.empty():
                item = self._arrived.get()
                if item is None:
                    ended = True
                else:
                    gathered.append(item)
            _attempt(self._name, partial(self._act, gathered))
            if ended:
                return


def _attempt(name: str, act: Callable[[], object]) -> None:
    try:
        act()
    except ServiceError as error:
        _log.warning("background_delayed", thread=name, code=error.code, error=str(error))
    except Exception:  # noqa: BLE001 - a thread that ended would leave its process alive and useless
        _log.exception("background_failed", thread=name)
