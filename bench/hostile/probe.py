"""Asks what has to be answered whatever happens, each time over a connection of its own, in a process of its own: times
that a busy client measures are the client's.

`python -m bench.hostile.probe URL...` probes until its input ends, and prints its seconds and answers as JSON.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

PATHS = ("/healthz", "/v1/jobs")
_PAUSE_SECONDS = 0.25
_TIMEOUT_SECONDS = 30.0
_PRIORITY = -5
"""A probe that waits for a core measures the machine; where this may not be set it does."""


@dataclass(frozen=True)
class Probed:
    """Seconds of each path's answers, and the answers counted as "/healthz 200"."""

    seconds: dict[str, list[float]]
    answers: Counter[str]


class Prober:
    """The process that probes, from its start to `end`."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hostile.probe", *base_urls], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def end(self) -> Probed:
        """Stop probing; raises RuntimeError when the process ended before."""
        output, _ = self._process.communicate(timeout=2 * _TIMEOUT_SECONDS)
        if self._process.returncode:
            raise RuntimeError("the process that probes has died")
        figures: dict[str, Any] = json.loads(output)
        return Probed(figures["seconds"], Counter(figures["answers"]))


def main() -> int:
    """Probe until the input ends."""
    with contextlib.suppress(OSError):
        os.nice(_PRIORITY)
    over = threading.Event()
    threading.Thread(target=_await_end, args=(over,), daemon=True).start()
    seconds: dict[str, list[float]] = {path: [] for path in PATHS}
    answers: Counter[str] = Counter()
    for base_url in itertools.cycle(sys.argv[1:]):
        for path in PATHS:
            started = time.monotonic()
            answers[f"{path} {_ask(base_url, path)}"] += 1
            seconds[path].append(time.monotonic() - started)
        if over.wait(_PAUSE_SECONDS):
            break
    print(json.dumps({"seconds": seconds, "answers": answers}))
    return 0


def _await_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def _ask(base_url: str, path: str) -> str:
    # Not by httpx, which prepares TLS for each new client: that takes ten times as long as the answer.
    connection = HTTPConnection(base_url.partition("://")[2], timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return str(response.status)
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
