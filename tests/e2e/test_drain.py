"""A worker that is drained by call finishes and takes nothing more, while its process stays."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.server.client import Client
from cli.up.stack import EmbeddedStack

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path / "data", port=0) as stack:
        stack.wait_ready()
        yield stack


def _state(client: Client, worker_id: str) -> str:
    [worker] = [worker for worker in client.workers() if worker["id"] == worker_id]
    return str(worker["state"])


def _await(client: Client, job_id: str, state: str) -> None:
    deadline = time.monotonic() + 60
    while (found := client.job(job_id)["state"]) != state:
        assert time.monotonic() < deadline, f"{job_id} is {found}"
        time.sleep(0.1)


def test_drained_worker_takes_nothing_until_it_is_resumed(stack: EmbeddedStack) -> None:
    with stack.client() as client:
        workers = {worker["queues"][0]: worker for worker in client.workers()}
        assert set(workers) == {"encode", "decode"}
        decode = workers["decode"]["id"]
        pid = stack.pids["decode-1"]
        client.drain(decode, is_wanted=True)
        time.sleep(7)  # a heartbeat, and what Celery needs to stop consuming
        assert _state(client, decode) == "drained"
        waiting = client.submit_probe("decode")
        other = client.submit_probe("encode")
        _await(client, other, "succeeded")
        time.sleep(8)  # the reconciler notifies again meanwhile
        assert client.job(waiting)["state"] == "queued"
        assert stack.pids["decode-1"] == pid, "it neither ended nor was started anew"
        client.drain(decode, is_wanted=False)
        _await(client, waiting, "succeeded")
        assert _state(client, decode) == "alive"
