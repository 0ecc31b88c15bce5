"""The service at full size under more than it can do: connections that submit at twice its capacity, and beside them
idle and half-open ones by the thousand. What it may do is refuse; what it took it has to finish.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.chaos.ledger import FINAL_STATES, Order
from bench.chaos.stack import FullStack, full_stack

_CAPACITY_SECONDS = 20.0
_CAPACITY_CONNECTIONS = 8
_SETTLE_SECONDS = 15.0
"""Memory is compared with what it is after so long, when every pool is filled."""

_PROBE_SECONDS = 0.25
_FINISH_SECONDS = 1200.0
_LARGEST_MEMORY_GROWTH = 1.25
_LIMITS = {"healthz_p99_seconds": 0.5, "jobs_p99_seconds": 0.5, "submit_p99_seconds": 1.0}
_DELIBERATE = frozenset({202, 429, 503, 507})
_HALF_HEADER = b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "


@dataclass
class Load:
    """What was sent and how it was answered."""

    answers: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)
    probe_seconds: dict[str, list[float]] = field(default_factory=lambda: {"/healthz": [], "/v1/jobs": []})
    reopened: int = 0


def main() -> int:
    """Run and report; returns 1 when a limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=64, help="connections that submit")
    parser.add_argument("--idle", type=int, default=2000, help="connections beside them, half of them half a header")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long")
    parser.add_argument("--most-open", type=int, default=400, help="MISC_API_MAX_OPEN_JOBS")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    with full_stack(1, {"MISC_API_MAX_OPEN_JOBS": str(arguments.most_open)}) as stack:
        figures = asyncio.run(_attack(stack, arguments.connections, arguments.idle, arguments.seconds))
    passed = _findings(figures)
    _print(figures, passed)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2))
    return 1 if passed else 0


async def _attack(stack: FullStack, connections: int, idle: int, seconds: float) -> dict[str, Any]:
    numbers = itertools.count()
    warm = Load()
    await _submit_for(stack.base_urls, warm, numbers, _CAPACITY_CONNECTIONS, _CAPACITY_SECONDS, interval=0.0)
    finished = await _count_finished(stack.base_urls, warm.accepted)
    capacity = finished / _CAPACITY_SECONDS
    load = Load()
    idle_tasks = [asyncio.create_task(_hold_open(stack.api_ports, load, number)) for number in range(idle)]
    probes = asyncio.create_task(_probe(stack.base_urls, load))
    memory = asyncio.create_task(_watch_memory(stack))
    # Each connection sends so often that all of them together come to twice the capacity.
    interval = connections / (2 * max(capacity, 0.1))
    await _submit_for(stack.base_urls, load, numbers, connections, seconds, interval)
    probes.cancel()
    memory.cancel()
    settled, largest = await memory
    for task in idle_tasks:
        task.cancel()
    await asyncio.gather(*idle_tasks, probes, return_exceptions=True)
    unfinished = await _wait_until_finished(stack.base_urls, warm.accepted + load.accepted)
    return {
        "connections": connections,
        "idle_connections": idle,
        "idle_connections_reopened": load.reopened,
        "seconds": seconds,
        "capacity_jobs_per_second": capacity,
        "answers": dict(load.answers),
        "accepted": len(load.accepted),
        "submit_p99_seconds": _p99(load.submit_seconds),
        "healthz_p99_seconds": _p99(load.probe_seconds["/healthz"]),
        "jobs_p99_seconds": _p99(load.probe_seconds["/v1/jobs"]),
        "probes": len(load.probe_seconds["/v1/jobs"]),
        "api_memory_settled_mib": settled,
        "api_memory_largest_mib": largest,
        "unfinished": unfinished,
    }


async def _submit_for(
    base_urls: Sequence[str],
    load: Load,
    numbers: "itertools.count[int]",
    connections: int,
    seconds: float,
    interval: float,
) -> None:
    """Submit over so many connections, each as often as the interval says, or as fast as it is answered."""
    end = time.monotonic() + seconds
    await asyncio.gather(
        *(
            _submit_over_one(base_urls[number % len(base_urls)], load, numbers, end, interval, number / connections)
            for number in range(connections)
        )
    )


async def _submit_over_one(
    base_url: str, load: Load, numbers: "itertools.count[int]", end: float, interval: float, phase: float
) -> None:
    due = time.monotonic() + interval * phase
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as client:
        while (now := time.monotonic()) < end:
            if due > now:
                await asyncio.sleep(min(due, end) - now)
                continue
            due += interval
            await _submit(client, load, next(numbers))


async def _submit(client: httpx.AsyncClient, load: Load, number: int) -> None:
    order = Order(f"load-{number}", {"mode": "pixel", "describe": "none"}, seed=number)
    files = {"file": (f"{number}.png", order.picture_file(), "image/png")}
    started = time.monotonic()
    try:
        response = await client.post("/v1/images", files=files, data={"options": json.dumps(order.options)})
    except httpx.TransportError as error:
        load.answers[type(error).__name__] += 1
        return
    load.answers[str(response.status_code)] += 1
    if response.status_code == 202:
        load.submit_seconds.append(time.monotonic() - started)
        load.accepted.append(response.json()["job"]["id"])


async def _hold_open(ports: Sequence[int], load: Load, number: int) -> None:
    """One connection that says nothing, or half a header, and is opened again when the server has closed it."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[number % len(ports)])
            if number % 4 >= 2:
                writer.write(_HALF_HEADER)
            with contextlib.closing(writer):
                await reader.read()
            load.reopened += 1
        except OSError:
            pass
        await asyncio.sleep(1)


async def _probe(base_urls: Sequence[str], load: Load) -> None:
    """Ask what has to be answered whatever happens, each time over a connection of its own."""
    for number in itertools.count():
        base_url = base_urls[number % len(base_urls)]
        for path, seconds in load.probe_seconds.items():
            started = time.monotonic()
            try:
                async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
                    response = await client.get(path)
                load.answers[f"{path} {response.status_code}"] += 1
            except httpx.TransportError as error:
                load.answers[f"{path} {type(error).__name__}"] += 1
            seconds.append(time.monotonic() - started)
        await asyncio.sleep(_PROBE_SECONDS)


async def _watch_memory(stack: FullStack) -> tuple[float, float]:
    """Resident MiB of both APIs together once they have settled, and at most from then on; until it is cancelled."""
    started, settled, largest = time.monotonic(), 0.0, 0.0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(1)
            pids = [stack.pid(name) for name in stack.names("api")]
            present = sum(_resident_bytes(pid) for pid in pids if pid is not None) / 2**20
            if time.monotonic() - started < _SETTLE_SECONDS:
                settled = present
            largest = max(largest, present)
    return settled, largest


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def _count_finished(base_urls: Sequence[str], job_ids: Sequence[str]) -> int:
    return len(job_ids) - len(await _open(base_urls, job_ids))


async def _wait_until_finished(base_urls: Sequence[str], job_ids: Sequence[str]) -> int:
    """How many of the jobs have not succeeded in the end."""
    deadline = time.monotonic() + _FINISH_SECONDS
    left = list(job_ids)
    while left and time.monotonic() < deadline:
        left = await _open(base_urls, left)
        await asyncio.sleep(1)
    return len(left)


async def _open(base_urls: Sequence[str], job_ids: Sequence[str]) -> list[str]:
    """Those of the jobs that have not succeeded; raises RuntimeError for one that failed."""
    left = []
    async with httpx.AsyncClient(base_url=base_urls[0], timeout=60) as client:
        for job_id in job_ids:
            job = (await client.get(f"/v1/jobs/{job_id}")).json()
            if job["state"] != "succeeded":
                if job["state"] in FINAL_STATES:
                    raise RuntimeError(f"job {job_id} {job['state']}: {job['error']}")
                left.append(job_id)
    return left


def _findings(figures: dict[str, Any]) -> list[str]:
    findings = [f"{name} is {figures[name]:.2f}" for name, most in _LIMITS.items() if figures[name] > most]
    findings += [
        f"{count} answers {status}"
        for status, count in figures["answers"].items()
        if status.isdigit() and int(status) not in _DELIBERATE
    ]
    findings += [
        f"{count} times {name}"
        for name, count in figures["answers"].items()
        if not name[:1].isdigit() and not name.endswith(" 200")
    ]
    if figures["unfinished"]:
        findings.append(f"{figures['unfinished']} accepted jobs did not end")
    if figures["api_memory_largest_mib"] > figures["api_memory_settled_mib"] * _LARGEST_MEMORY_GROWTH:
        findings.append("the APIs' memory grew")
    return findings


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else 0.0


def _print(figures: dict[str, Any], findings: Sequence[str]) -> None:
    table = Table(title=f"{figures['connections']} connections, {figures['idle_connections']} idle or half-open beside")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value))
    console = Console(width=130)
    console.print(table)
    for finding in findings:
        console.print(f"[red]{finding}[/]", highlight=False)
    console.print("[bold red]limits passed[/]" if findings else "[bold green]all within limits[/]")


if __name__ == "__main__":
    sys.exit(main())
