"""Networks that a process has loaded: each once, shared by all threads, the least used let go first. Loads nothing."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Network = TypeVar("Network")


class Loaded(Generic[Network]):
    """Networks by key. What is let go lives on for those who still use it."""

    def __init__(self, most: int) -> None:
        """At most `most` are kept."""
        self._most = most
        self._kept: OrderedDict[Hashable, Network] = OrderedDict()
        self._loading: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], Network]) -> Network:
        """The network of `key`, by `load` if it is not there; others wait meanwhile only when they want the same.

        An error of `load` reaches the caller and leaves nothing behind.
        """
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            network = load()
            with self._lock:
                self._kept[key] = network
                while len(self._kept) > self._most:
                    let_go, _ = self._kept.popitem(last=False)
                    self._loading.pop(let_go, None)
            return network

    def release(self) -> None:
        """Let go of all."""
        with self._lock:
            self._kept.clear()
            self._loading.clear()
