"""No job fails for what is not its fault: a store that is away, another job that kills the worker. Real processes.

`--log-cli-level=info` shows the figures.
"""

import io
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cli.up.stack import EmbeddedStack

_log = logging.getLogger(__name__)

LEASE_SECONDS = 5
AWAY_SECONDS = 30
"""Longer than all attempts of a job took when each counted (14 s)."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedStack]:
    environment = dict(os.environ) | {"MISC_WORKER_LEASE": str(LEASE_SECONDS)} | getattr(request, "param", {})
    with EmbeddedStack(tmp_path / "data", port=0, environment=environment) as stack:
        stack.wait_ready(300)
        yield stack


@pytest.fixture
def client(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=30) as client:
        yield client


def _submit(client: httpx.Client, seed: int, name: str = "innocent") -> str:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(file, "PNG")
    files = {"file": (f"{name}-{seed}.png", file.getvalue(), "image/png")}
    answer = client.post("/v1/images", files=files, data={"options": '{"mode": "pixel", "describe": "none"}'})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job"]["id"])


def _jobs(client: httpx.Client, ids: list[str]) -> list[dict[str, Any]]:
    items = client.get("/v1/jobs?kind=encode&limit=200").json()["items"]
    return [job for job in items if job["id"] in ids]


def _wait(what: str, condition: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.5)
    return time.monotonic() - started


def _count(client: httpx.Client, ids: list[str]) -> Counter[str]:
    return Counter(job["state"] for job in _jobs(client, ids))


def test_store_that_is_away_for_half_a_minute_fails_no_job(stack: EmbeddedStack, client: httpx.Client) -> None:
    encoders = [pid for name, pid in stack.pids.items() if name.startswith("encode")]
    for pid in encoders:
        os.kill(pid, signal.SIGSTOP)
    ids = [_submit(client, seed) for seed in range(60)]
    objects = next(path.parent for path in stack.data.rglob("originals") if path.is_dir())
    away = objects.with_name("away")
    objects.rename(away)
    objects.write_text("no folder any more")
    for pid in encoders:
        os.kill(pid, signal.SIGCONT)
    time.sleep(AWAY_SECONDS)
    meanwhile = _jobs(client, ids)
    objects.unlink()
    away.rename(objects)
    back_after = _wait("all jobs end", lambda: set(_count(client, ids)) <= {"succeeded", "failed"}, 120)
    ended = _jobs(client, ids)
    _log.info(
        f"store away for {AWAY_SECONDS} s: {dict(_count(client, ids))}; put off meanwhile: "
        f"{sum(job['error'] is not None for job in meanwhile)}; all ended {back_after:.1f} s after it was back"
    )
    assert Counter(job["state"] for job in ended) == {"succeeded": 60}
    assert {job["attempts"] for job in ended} == {1}, "no attempt was the job's own"
    # A worker that knows that the store is away claims one job every eight seconds, and 32 before it knows.
    assert sum(job["error"] is not None for job in meanwhile) <= 32 + AWAY_SECONDS / 4


POISON = {"PYTHONPATH": f"{Path(__file__).parent / 'poison'}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.parametrize("stack", [POISON], indirect=True)
def test_job_that_kills_its_worker_is_parked_and_takes_none_of_sixty_others_along(
    stack: EmbeddedStack, client: httpx.Client
) -> None:
    encoders = [pid for name, pid in stack.pids.items() if name.startswith("encode")]
    for pid in encoders:
        os.kill(pid, signal.SIGSTOP)
    before = [_submit(client, seed) for seed in range(20)]
    poison = _submit(client, 1000, "poison")
    after = [_submit(client, seed) for seed in range(20, 60)]
    for pid in encoders:
        os.kill(pid, signal.SIGCONT)
    innocent = before + after

    def _all_ended() -> bool:
        return set(_count(client, [*innocent, poison])) <= {"succeeded", "failed"}

    took = _wait("all jobs end", _all_ended, 500)
    (parked,) = _jobs(client, [poison])
    _log.info(f"poison among 60: {dict(_count(client, innocent))} innocent, poison {parked['error']}, {took:.0f} s")
    assert _count(client, innocent) == {"succeeded": 60}
    assert (parked["state"], parked["error"]["code"], parked["is_suspect"]) == ("failed", "worker_lost", True)
    assert [job["id"] for job in client.get("/v1/jobs?code=worker_lost&state=failed").json()["items"]] == [poison]
