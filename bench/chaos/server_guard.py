"""Ends the servers of a run whose harness was killed: PostgreSQL, Redis and the store know no parent.

Run as a script, standard library only. Reads paths that only this run's servers have on their command lines; when the
input ends, whatever still runs on one of them is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self


class ServerGuard:
    """A context manager; leaving it when the servers have ended finds nothing to end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True, text=True
        )

    def watch(self, path: Path) -> None:
        """Servers on this path end with this process, at the latest."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path.resolve()}\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main() -> None:
    """Wait for the end of the input, then end what is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    paths = [os.fsencode(line.rstrip("\n")) for line in sys.stdin]
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(path in (entry / "cmdline").read_bytes() for path in paths):
                os.kill(int(entry.name), signal.SIGKILL)


if __name__ == "__main__":
    main()
