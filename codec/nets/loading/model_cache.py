"""Cache of the networks that a process has loaded: each once, shared by all threads, evicted when long unused.

It loads nothing itself, knows no network and has no thread: its owner decides when to evict.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Network = TypeVar("Network")


@dataclass
class _Entry(Generic[Network]):
    network: Network
    users: int
    last_used: float


class ModelCache(Generic[Network]):
    """Networks by key. An evicted network lives on for those who still hold it."""

    def __init__(self, most: int, on_release: Callable[[], None] = lambda: None) -> None:
        """At most `most` are kept beside those in use; `on_release` is called after an eviction."""
        self._most, self._on_release = most, on_release
        self._kept: OrderedDict[Hashable, _Entry[Network]] = OrderedDict()
        self._loading: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], Network]) -> Network:
        """The network of `key`, by `load` if it is not there; others wait meanwhile only when they want the same.

        An error of `load` reaches the caller and leaves nothing behind.
        """
        with self.use(key, load) as network:
            return network

    @contextmanager
    def use(self, key: Hashable, load: Callable[[], Network]) -> Iterator[Network]:
        """The same network as `get`, which is kept at least as long as the block runs.

        For networks so large that a second copy must not be loaded while the first one is still at work.
        """
        entry = self._enter(key, load)
        try:
            yield entry.network
        finally:
            with self._lock:
                entry.users -= 1
                entry.last_used = time.monotonic()

    def release_idle(self, seconds: float) -> int:
        """Evict what nobody uses and nobody wanted for `seconds`; return the count."""
        latest = time.monotonic() - seconds
        with self._lock:
            idle = [key for key, entry in self._kept.items() if not entry.users and entry.last_used <= latest]
            for key in idle:
                self._evict(key)
        if idle:
            self._on_release()
        return len(idle)

    def release(self) -> None:
        """Evict all that nobody uses."""
        self.release_idle(0.0)

    def _enter(self, key: Hashable, load: Callable[[], Network]) -> _Entry[Network]:
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    entry = self._kept[key]
                    entry.users += 1
                    return entry
            network = load()
            with self._lock:
                entry = self._kept[key] = _Entry(network, 1, time.monotonic())
                unused = [other for other, kept in self._kept.items() if not kept.users]
                for other in unused[: max(0, len(self._kept) - self._most)]:
                    self._evict(other)
            return entry

    def _evict(self, key: Hashable) -> None:
        """The lock must be held."""
        del self._kept[key]
        self._loading.pop(key, None)
