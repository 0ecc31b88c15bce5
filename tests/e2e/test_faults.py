"""What the service does when its parts die: every job ends once, and only time is lost. Real processes throughout."""

import contextlib
import io
import logging
import os
import signal
import sqlite3
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

OPTIONS = '{"mode": "pixel"}'
"""What is coded does not matter here; how long it takes does."""

pytestmark = pytest.mark.timeout(600)


def _environment() -> dict[str, str]:
    return dict(os.environ) | {
        "MISC_WORKER_LEASE": str(LEASE_SECONDS),
        "MISC_WORKER_RECONCILE_INTERVAL": "1",
        "MISC_WORKER_ENCODE_CONCURRENCY": "2",
    }


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path / "data", port=0, environment=_environment()) as stack:
        stack.wait_ready()
        yield stack


def _client(stack: EmbeddedStack) -> httpx.Client:
    return httpx.Client(base_url=stack.base_url, timeout=30)


def _picture(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A small picture that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def _submit(client: httpx.Client, seed: int, **size: int) -> dict[str, Any]:
    files = {"file": (f"{seed}.png", _picture(seed, **size), "image/png")}
    answer = client.post("/v1/images", files=files, data={"options": OPTIONS})
    assert answer.status_code == 202, answer.text
    return answer.json()


def _wait(what: str, condition: Callable[[], bool], seconds: float) -> float:
    """Wait for the condition; returns how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - started


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return client.get(f"/v1/jobs/{job_id}").json()


def _is_worked_at(stack: EmbeddedStack, job_id: str) -> bool:
    """Whether its worker has begun: the interface tells only that it was taken."""
    with contextlib.closing(sqlite3.connect(stack.data / "misc.db")) as database:
        (at_work,) = database.execute("SELECT at_work FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return bool(at_work)


def _states(client: httpx.Client, job_ids: list[str]) -> Counter[str]:
    return Counter(_job(client, job_id)["state"] for job_id in job_ids)


def _encoded(client: httpx.Client, seed: int, **size: int) -> str:
    submitted = _submit(client, seed, **size)
    _wait("encode", lambda: _job(client, submitted["job"]["id"])["state"] == "succeeded", 60)
    return submitted["image"]["id"]


def _order(client: httpx.Client, image_id: str, seed: int) -> str:
    answer = client.post(f"/v1/images/{image_id}/reconstructions", json={"seed": seed, "restorer": "smooth"})
    assert answer.status_code == 202, answer.text
    return answer.json()["job"]["id"]


def test_worker_killed_mid_decode_job_is_finished_once_by_another(stack: EmbeddedStack) -> None:
    with _client(stack) as client:
        image_id = _encoded(client, 1, width=4000, height=3000)
        stack.add_worker("decode")
        stack.wait_ready()
        job_id = _order(client, image_id, 1)
        _wait("a worker works at it", lambda: _is_worked_at(stack, job_id), 20)
        victim = _job(client, job_id)["worker"]
        os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
        assert _job(client, job_id)["state"] == "running", "it was killed too late to show anything"

        def _taken_over() -> bool:
            job = _job(client, job_id)
            return job["worker"] != victim and job["state"] in ("running", "succeeded")

        taken_after = _wait("another worker takes it", _taken_over, LEASE_SECONDS + 10)
        _log.info(f"lease {LEASE_SECONDS} s: taken over {taken_after:.1f} s after kill -9")
        _wait("it is finished", lambda: _job(client, job_id)["state"] == "succeeded", 60)
        job = _job(client, job_id)
        assert (job["is_suspect"], job["attempts"]) == (True, 1), "a first death may be another's fault"
        assert taken_after <= LEASE_SECONDS + 5


def test_worker_killed_amid_sixteen_decodes_loses_none_of_them(stack: EmbeddedStack) -> None:
    """Its engine had several under way: each is taken over soon, and ends once with the picture it gets anywhere."""
    with _client(stack) as client:
        image_id = _encoded(client, 2, width=320, height=240)
        stack.add_worker("decode")
        stack.wait_ready()
        expected = _reconstructed(client, _restoration(client, image_id, seed=99))
        orders = [_restoration(client, image_id, seed) for seed in range(16)]
        jobs = [order["job"]["id"] for order in orders]
        running: list[dict[str, Any]] = []

        def _several_are_running() -> bool:
            running[:] = [job for job in (_job(client, each) for each in jobs) if job["state"] == "running"]
            return len(running) >= 3

        _wait("several are under way", _several_are_running, 60)
        victim = running[0]["worker"]
        os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
        lost = [job["id"] for job in (_job(client, each) for each in jobs) if _is_held(job, victim)]
        assert lost, "it was killed too late to show anything"
        taken_after = _wait(
            "others take them",
            lambda: not any(_is_held(_job(client, each), victim) for each in lost),
            LEASE_SECONDS + 10,
        )
        ended_after = taken_after + _wait(
            "all end", lambda: _states(client, jobs)["succeeded"] == len(jobs), LEASE_SECONDS + 200
        )
        _log.info(f"{len(lost)} of 16 lost; taken over {taken_after:.1f} s, ended {ended_after:.1f} s after kill -9")
        # This restorer uses no seed.
        assert {_reconstructed(client, order) for order in orders} == {expected}


def _restoration(client: httpx.Client, image_id: str, seed: int) -> dict[str, Any]:
    answer = client.post(f"/v1/images/{image_id}/reconstructions", json={"seed": seed, "restorer": "gan"})
    assert answer.status_code == 202, answer.text
    return answer.json()


def _is_held(job: dict[str, Any], worker: str) -> bool:
    return job["state"] == "running" and job["worker"] == worker


def _reconstructed(client: httpx.Client, order: dict[str, Any]) -> bytes:
    """The samples of an order's picture, once its job has ended; made once."""
    _wait("it ends", lambda: _job(client, order["job"]["id"])["state"] == "succeeded", 60)
    job = _job(client, order["job"]["id"])
    assert job["attempts"] == 1, job
    answer = client.get(f"/v1/reconstructions/{order['reconstruction']['id']}/content")
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content)).tobytes()


def test_fifty_jobs_survive_a_redis_that_restarts_empty(stack: EmbeddedStack) -> None:
    with _client(stack) as client:
        # The workers sleep while the jobs come in, so that all of them wait when Redis dies.
        workers = [pid for name, pid in stack.pids.items() if name.startswith(("encode", "decode"))]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        job_ids = [_submit(client, seed)["job"]["id"] for seed in range(50)]
        old = stack.pids["redis"]
        os.kill(old, signal.SIGKILL)
        _wait("Redis is started again", lambda: stack.pids.get("redis") not in (None, old), 20)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        _wait("all jobs end", lambda: _states(client, job_ids)["succeeded"] == 50, 400)
        assert all(_job(client, job_id)["attempts"] <= 2 for job_id in job_ids)


def test_second_decode_worker_takes_its_share_and_encode_workers_take_none(stack: EmbeddedStack) -> None:
    with _client(stack) as client:
        image_id = _encoded(client, 1, width=1600, height=1200)
        second = stack.add_worker("decode")
        # A start takes seconds, with PyTorch and the networks of lite, in which the first worker would do all of it.
        log = stack.logs / f"{second}.log"
        _wait("the second is warm", lambda: log.exists() and "warmed_up" in log.read_text(), 120)
        job_ids = [_order(client, image_id, seed) for seed in range(16)]
        _wait("all decodes end", lambda: _states(client, job_ids)["succeeded"] == 16, 180)
        shares = Counter(_job(client, job_id)["worker"] for job_id in job_ids)
        assert all(worker.startswith("decode@") for worker in shares), shares
        assert len(shares) == 2 and min(shares.values()) >= 5, shares


def test_group_of_a_hundred_survives_a_restart_of_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedStack(data, port=0, environment=_environment()) as stack:
        stack.wait_ready()
        with _client(stack) as client:
            files = [("files", (f"{seed}.png", _picture(seed), "image/png")) for seed in range(100)]
            answer = client.post("/v1/batches", files=files, data={"name": "hundred", "options": OPTIONS})
            assert answer.status_code == 202, answer.text
            batch_id = answer.json()["id"]
            _wait("some are done", lambda: _counts(client, batch_id)["succeeded"] >= 5, 60)
            assert _counts(client, batch_id)["succeeded"] < 100, "it was stopped too late to show anything"
        for pid in list(stack.pids.values()):
            os.kill(pid, signal.SIGKILL)
    with EmbeddedStack(data, port=0, environment=_environment()) as stack:
        stack.wait_ready()
        with _client(stack) as client:
            _wait("all are done", lambda: _counts(client, batch_id)["succeeded"] == 100, 400)
            batch = client.get(f"/v1/batches/{batch_id}").json()
            assert (batch["progress"], batch["total"]) == (1.0, 100)


def _counts(client: httpx.Client, batch_id: str) -> dict[str, int]:
    return client.get(f"/v1/batches/{batch_id}").json()["counts"]
