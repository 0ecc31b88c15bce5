"""Small files that this process made to be looked at, kept in memory up to a number of bytes."""

import threading
from collections import OrderedDict

_MOST_BYTES = 32 * 1024 * 1024
"""Some four thousand thumbnails: more than anybody scrolls through before they come round again."""


class ViewCache:
    """Files by key; the ones that were not asked for the longest go first. Thread-safe."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """The file; None for one that is not kept."""
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                self._files.move_to_end(key)
            return file

    def put(self, key: str, file: bytes) -> None:
        """Keep the file, in the place of others where there is no room."""
        with self._lock:
            self._bytes += len(file) - len(self._files.pop(key, b""))
            self._files[key] = file
            while self._bytes > self._most_bytes:
                _, oldest = self._files.popitem(last=False)
                self._bytes -= len(oldest)
