"""Describing by a language model through the whole service: real processes, and a real server that plays the model."""

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cli.up.stack import EmbeddedStack
from tests.lmm_server.server import LMMTestServer

LEASE_SECONDS = 5

OPTIONS = '{"describe": "openai", "maps": false, "mode": "pixel", "blocks": 4}'

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def lmm_server() -> Iterator[LMMTestServer]:
    with LMMTestServer() as server:
        yield server


@contextmanager
def _stack(folder: Path, server: LMMTestServer, encode_workers: int = 1, **more: str) -> Iterator[EmbeddedStack]:
    environment = dict(os.environ) | {
        "MISC_WORKER_LEASE": str(LEASE_SECONDS),
        "MISC_WORKER_RECONCILE_INTERVAL": "1",
        "MISC_LMM_BASE_URL": server.base_url,
        "MISC_LMM_MODEL": "played",
    }
    with EmbeddedStack(folder, port=0, encode_workers=encode_workers, environment=environment | more) as stack:
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


def _submit(client: httpx.Client, data: bytes, name: str = "a.png", options: str = OPTIONS) -> str:
    """Hand a picture in; returns the id of its job."""
    answer = client.post("/v1/images", files={"file": (name, data, "image/png")}, data={"options": options})
    assert answer.status_code == 202, answer.text
    return answer.json()["job"]["id"]


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return client.get(f"/v1/jobs/{job_id}").json()


def _image(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return client.get(f"/v1/images/{_job(client, job_id)['image_id']}").json()


def _wait(what: str, condition: Callable[[], bool], seconds: float) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def _all_ended(client: httpx.Client, job_ids: list[str]) -> bool:
    return all(_job(client, job_id)["state"] in ("succeeded", "failed", "cancelled") for job_id in job_ids)


def test_worker_killed_after_the_description_was_bought_the_retry_asks_nobody(
    tmp_path: Path, lmm_server: LMMTestServer
) -> None:
    # Encoding a picture of this size takes seconds, in which the worker is killed.
    options = '{"describe": "openai", "maps": false, "mode": "ref"}'
    with _stack(tmp_path / "data", lmm_server) as stack, _client(stack) as client:
        job_id = _submit(client, _picture(1, 1600, 1200), options=options)
        _wait("the description is bought", lambda: _job(client, job_id)["usage"] is not None, 60)
        victim = _job(client, job_id)["worker"]
        os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
        assert _job(client, job_id)["state"] == "running", "it was killed too late to show anything"
        assert len(lmm_server.asked()) == 1
        _wait("another process ends the job", lambda: _job(client, job_id)["state"] == "succeeded", 120)
        job, image = _job(client, job_id), _image(client, job_id)
        # The death of a worker makes its job a suspect; only one that it dies of alone is an attempt.
        assert (job["attempts"], job["worker"] != victim) == (1, True)
        assert len(lmm_server.asked()) == 1, "the retried job makes no second call"
        assert (image["description"]["describer"], image["notes"]) == ("openai", [])
        assert job["usage"]["cached"] is False
        assert image["usage"] == job["usage"]


def test_one_worker_process_has_many_requests_under_way_at_once(tmp_path: Path, lmm_server: LMMTestServer) -> None:
    lmm_server.play({"play": "refusal", "latency": 2.0}, then={"play": "good", "latency": 2.0})
    with _stack(tmp_path / "data", lmm_server, MISC_LMM_REQUESTS_PER_MINUTE="600") as stack, _client(stack) as client:
        job_ids = [_submit(client, _picture(seed)) for seed in range(40)]
        _wait("all jobs end", lambda: _all_ended(client, job_ids), 120)
        assert {_job(client, job_id)["state"] for job_id in job_ids} == {"succeeded"}
        assert len(lmm_server.asked()) == 40
        assert lmm_server.state.most_open_requests >= 15
        assert len({_job(client, job_id)["worker"] for job_id in job_ids}) == 1
        images = [_image(client, job_id) for job_id in job_ids]
        replaced = [image for image in images if image["description"]["describer"] == "local"]
        assert len(replaced) == 1 and "refused" in replaced[0]["notes"][0]
        assert all(image["notes"] == [] for image in images if image not in replaced)


def test_two_workers_buy_the_same_picture_once_and_keep_to_one_limit(tmp_path: Path, lmm_server: LMMTestServer) -> None:
    lmm_server.play(then={"play": "good", "latency": 0.5})
    limit = 6
    settings = {"MISC_LMM_REQUESTS_PER_MINUTE": str(limit), "MISC_WORKER_ENCODE_CONCURRENCY": "4"}
    with _stack(tmp_path / "data", lmm_server, encode_workers=2, **settings) as stack, _client(stack) as client:
        same = [_submit(client, _picture(0), f"{number}.png") for number in range(5)]
        _wait("the five end", lambda: _all_ended(client, same), 60)
        assert {_job(client, job_id)["state"] for job_id in same} == {"succeeded"}
        assert len(lmm_server.asked()) == 1
        assert sorted(_job(client, job_id)["usage"]["cached"] for job_id in same) == [False] + [True] * 4
        assert len({_image(client, job_id)["bitstream_sha256"] for job_id in same}) == 1

        others = [_submit(client, _picture(seed)) for seed in range(1, 13)]
        _wait("the limit is used up", lambda: len(lmm_server.asked()) == limit, 60)
        time.sleep(3)
        assert len(lmm_server.asked()) == limit, "the rest waits for the minute to go by"
        waiting = [job_id for job_id in others if _job(client, job_id)["state"] == "running"]
        assert {_job(client, job_id)["stage"] for job_id in waiting} == {"describe"}
        # Who waits for its turn can be cancelled at once.
        for job_id in others:
            client.post(f"/v1/jobs/{job_id}/cancel")
        _wait("the rest is cancelled", lambda: _all_ended(client, others), 20)
        ended = [_job(client, job_id) for job_id in others]
        assert sum(job["state"] == "succeeded" for job in ended) == limit - 1
        assert len(lmm_server.asked()) == limit


def test_batch_survives_a_restart_of_everything_and_is_paid_once(tmp_path: Path, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 4}})
    settings = {"MISC_LMM_BATCH_GATHER_AGE": "1", "MISC_LMM_BATCH_POLL": "1"}
    options = '{"describe": "openai", "batch": true, "maps": false, "mode": "pixel", "blocks": 4}'
    data = tmp_path / "data"
    with _stack(data, lmm_server, **settings) as stack, _client(stack) as client:
        job_ids = [_submit(client, _picture(seed), options=options) for seed in range(3)]
        _wait("the batch is made", lambda: len(lmm_server.state.batches) == 1, 60)
        for pid in list(stack.pids.values()):
            os.kill(pid, signal.SIGKILL)
    with _stack(data, lmm_server, **settings) as stack, _client(stack) as client:
        _wait("all jobs end", lambda: _all_ended(client, job_ids), 90)
        jobs = [_job(client, job_id) for job_id in job_ids]
        assert [(job["state"], job["usage"]["cached"]) for job in jobs] == [("succeeded", False)] * 3
        assert len(lmm_server.state.batches) == 1
        assert lmm_server.asked() == [], "nothing was asked outside of the batch"
