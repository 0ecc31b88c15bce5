"""Remembers on this machine what was sent to which server, so that a second run sends nothing twice."""

import contextlib
import threading
from functools import partial
from pathlib import Path

from cli.local.paths import with_home


class PushHistory:
    """A file of lines `SERVER KEY ID`, only ever appended to. May be used from many threads.

    What it says is a hint: the server may have deleted what is named, and the caller asks it.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there; a file that cannot be read is an empty one."""
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], str] = {}
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
        for line in lines:
            words = line.split(" ")
            if len(words) == 3:
                self._known[words[0], words[1]] = words[2]

    def find(self, server: str, key: str) -> str | None:
        """The id that this request was answered with, if it was made from here."""
        with self._lock:
            return self._known.get((server, key))

    def remember(self, server: str, key: str, identifier: str) -> None:
        """Note an id."""
        with self._lock:
            self._known[server, key] = identifier
            # A home that cannot be written to costs the hint, not the picture that was sent.
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a") as file:
                    file.write(f"{server} {key} {identifier}\n")


def default_path() -> Path:
    """Where the memory of this user lies."""
    from platformdirs import user_state_path

    return with_home(partial(user_state_path, "misc-archive", appauthor=False)) / "pushed.txt"
