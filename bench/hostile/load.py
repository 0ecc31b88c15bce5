"""Connections that submit pictures at a steady rate, whatever is answered, and the wait for what was taken."""

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from bench.chaos.ledger import FINAL_STATES, Order

_TIMEOUT_SECONDS = 60.0
_FINISH_SECONDS = 1200.0
_POLL_SECONDS = 1.0
_PAGE = 200
_TLS = ssl.create_default_context()
"""Shared by all clients, who would each read the machine's certificates and use none."""

_OPTIONS = {"mode": "pixel", "describe": "none"}


@dataclass
class Load:
    """What was sent and how it was answered; `submit_seconds` are those of accepted ones."""

    answers: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """So many connections for so long, each submitting every `interval` seconds, or as fast as it is answered at 0."""

    connections: int
    seconds: float
    interval: float = 0.0

    @property
    def most(self) -> int:
        """Submissions that it has at most, where the interval says so."""
        return int(self.connections * (self.seconds / self.interval + 1)) if self.interval else 0


def make_requests(count: int, first: int = 0) -> Iterator[httpx.Request]:
    """Requests that differ in their picture, made before they are sent: that takes longer than sending them."""
    for number in range(first, first + count):
        order = Order(f"load-{number}", _OPTIONS, seed=number)
        files = {"file": (f"{number}.png", order.picture_file(), "image/png")}
        yield httpx.Request("POST", "http://service/v1/images", files=files, data={"options": json.dumps(_OPTIONS)})


async def submit_all(
    base_urls: Sequence[str], load: Load, schedule: Schedule, requests: Iterator[httpx.Request]
) -> None:
    """Follow the schedule until its end, or until the requests are used up."""
    end = time.monotonic() + schedule.seconds
    await asyncio.gather(
        *(
            _submit_over_one(base_urls[number % len(base_urls)], load, schedule, number, end, requests)
            for number in range(schedule.connections)
        )
    )


async def _submit_over_one(
    base_url: str, load: Load, schedule: Schedule, number: int, end: float, requests: Iterator[httpx.Request]
) -> None:
    due = time.monotonic() + schedule.interval * number / schedule.connections
    async with httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_SECONDS, verify=_TLS) as client:
        while (now := time.monotonic()) < end:
            if due > now:
                await asyncio.sleep(min(due, end) - now)
                continue
            # Whoever was kept waiting does not send more of them at once for it.
            due = max(due + schedule.interval, now)
            request = next(requests, None)
            if request is None:
                return
            await _submit(client, load, request)


async def _submit(client: httpx.AsyncClient, load: Load, request: httpx.Request) -> None:
    headers = {"content-type": request.headers["content-type"]}
    started = time.monotonic()
    try:
        response = await client.post("/v1/images", content=request.read(), headers=headers)
    except httpx.TransportError as error:
        load.answers[type(error).__name__] += 1
        return
    seconds = time.monotonic() - started
    load.answers[str(response.status_code)] += 1
    if response.status_code == 202:
        load.submit_seconds.append(seconds)
        load.accepted.append(response.json()["job"]["id"])
    else:
        load.refused_seconds.append(seconds)


async def wait_until_finished(base_url: str, job_ids: Sequence[str]) -> int:
    """How many of the jobs have not succeeded in the end; raises RuntimeError for one that failed."""
    deadline = time.monotonic() + _FINISH_SECONDS
    left: Sequence[str] = job_ids
    while left and time.monotonic() < deadline:
        left = await _open(base_url, left)
        await asyncio.sleep(_POLL_SECONDS)
    return len(left)


async def _open(base_url: str, job_ids: Sequence[str]) -> list[str]:
    states: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_SECONDS, verify=_TLS) as client:
        query: dict[str, str | int] = {"limit": _PAGE}
        while True:
            page = (await client.get("/v1/jobs", params=query)).raise_for_status().json()
            for job in page["items"]:
                states[job["id"]] = job["state"]
                if job["state"] in FINAL_STATES - {"succeeded"}:
                    raise RuntimeError(f"job {job['id']} {job['state']}: {job['error']}")
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
    # One that is in no list is open too: it was promised.
    return [job_id for job_id in job_ids if states.get(job_id) != "succeeded"]
