"""`python -m bench.hostile`: the service at full size under more than it can do.

Connections submit at twice its capacity, and beside them there are idle and half-open ones by the thousand. What it may
do is refuse; what it took it has to finish. Exit status 1 when a limit is passed.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench.chaos.stack import FullStack, full_stack
from bench.hostile.crowd import Crowd
from bench.hostile.figures import findings, p99, print_figures
from bench.hostile.load import Load, Schedule, make_requests, submit_all, wait_until_finished
from bench.hostile.memory import MemoryWatch
from bench.hostile.probe import Prober

_WARM_UP, _CAPACITY = Schedule(connections=8, seconds=2.0), Schedule(connections=8, seconds=15.0)
"""Workers have loaded what they need, and every process its libraries, before anything is measured."""

_MOST_TO_MEASURE = 2_000
"""Requests made to find the capacity out: more than one machine takes in that time."""


def main() -> int:
    """Run and report; returns 1 when a limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=64, help="connections that submit")
    parser.add_argument("--idle", type=int, default=2000, help="connections beside them, half of them half a header")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long")
    parser.add_argument("--most-open", type=int, default=400, help="MISC_API_MAX_OPEN_JOBS")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--keep", type=Path, help="a new folder for logs and data, which stays")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with full_stack(1, {"MISC_API_MAX_OPEN_JOBS": str(arguments.most_open)}, arguments.keep) as stack:
        figures = _attack(stack, arguments.connections, arguments.idle, arguments.seconds)
    found = findings(figures)
    print_figures(figures, found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 1 if found else 0


def _attack(stack: FullStack, connections: int, idle: int, seconds: float) -> dict[str, Any]:
    warm = Load()
    requests = make_requests(_MOST_TO_MEASURE)
    asyncio.run(submit_all(stack.base_urls, warm, _WARM_UP, requests))
    asyncio.run(wait_until_finished(stack.base_urls[0], warm.accepted))
    measured, started = Load(), time.monotonic()
    asyncio.run(submit_all(stack.base_urls, measured, _CAPACITY, requests))
    asyncio.run(wait_until_finished(stack.base_urls[0], measured.accepted))
    capacity = len(measured.accepted) / (time.monotonic() - started)
    print(f"{capacity:.1f} jobs a second, end to end", flush=True)
    # Each connection sends so often that all of them together come to twice the capacity.
    schedule = Schedule(connections, seconds, connections / (2 * max(capacity, 0.1)))
    ready = iter(list(make_requests(schedule.most, first=_MOST_TO_MEASURE)))
    load = Load()
    crowd, prober, memory = Crowd(idle, stack.api_ports), Prober(stack.base_urls), MemoryWatch(stack)
    asyncio.run(submit_all(stack.base_urls, load, schedule, ready))
    probed, reopened = prober.end(), crowd.end()
    memory.end()
    unfinished = asyncio.run(wait_until_finished(stack.base_urls[0], measured.accepted + load.accepted))
    return {
        "connections": connections,
        "idle_connections": idle,
        "idle_connections_reopened": reopened,
        "seconds": seconds,
        "capacity_jobs_per_second": capacity,
        "offered_jobs_per_second": sum(load.answers.values()) / seconds,
        "answers": dict(load.answers + probed.answers),
        "accepted": len(load.accepted),
        "submit_p50_seconds": statistics.median(load.submit_seconds or [0.0]),
        "submit_p99_seconds": p99(load.submit_seconds),
        "refusal_p99_seconds": p99(load.refused_seconds),
        "healthz_p99_seconds": p99(probed.seconds["/healthz"]),
        "jobs_p99_seconds": p99(probed.seconds["/v1/jobs"]),
        "probes": len(probed.seconds["/v1/jobs"]),
        "api_memory_settled_mib": memory.settled_mib,
        "api_memory_largest_mib": memory.largest_mib,
        "unfinished": unfinished,
    }


if __name__ == "__main__":
    sys.exit(main())
