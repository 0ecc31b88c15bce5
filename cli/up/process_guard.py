"""Ends process groups when the process that started them is gone, however it went. Run as a script, standard library
only, so that it is up before anything that it has to guard.

Reads "+GROUP" and "-GROUP" lines from its standard input; the end of that input means that the parent has died.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 8.0
"""Time between SIGTERM and SIGKILL: enough for a worker to hand its jobs back."""


def main() -> None:
    """Keep the list of groups until the input ends, then end every group that is left on it."""
    # Whatever ends the parent may reach this process too, which is the one that has to survive it.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    _signal_all(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while groups and time.monotonic() < deadline:
        groups = {group for group in groups if _lives(group)}
        time.sleep(0.05)
    _signal_all(groups, signal.SIGKILL)


def _signal_all(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
