"""Webhooks of a whole service: a worker process sends them, to a real receiver, until they are taken."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack
from tests.webhook_receiver import Delivery, WebhookReceiver, webhook_receiver

standardwebhooks = pytest.importorskip("standardwebhooks")

_SENDER = "encode-1"
"""The worker of `misc up` that does its maintenance."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    environment = isolated_environment(os.environ) | {"MISC_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1"}
    with EmbeddedStack(tmp_path / "data", 0, environment=environment) as stack:
        stack.wait_ready()
        yield stack


def _upload(client: httpx.Client, number: int, **options: Any) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (number, 2 * number, 99)).save(file, "PNG")
    options |= {"mode": "pixel", "describe": "none", "maps": False, "blocks": 4}
    answer = client.post(
        "/v1/images",
        files={"file": (f"{number}.png", file.getvalue(), "image/png")},
        data={"options": json.dumps(options)},
    )
    return dict(answer.raise_for_status().json())


def _until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _verified(secret: str, delivery: Delivery) -> dict[str, Any]:
    return dict(standardwebhooks.Webhook(secret).verify(delivery.body, delivery.headers))


def _sent(stack: EmbeddedStack, process: str) -> list[tuple[int, int]]:
    """The attempts that a process tells of in its log: which one it was, and how it was answered."""
    lines = [json.loads(line) for line in (stack.logs / f"{process}.log").read_text().splitlines() if line[:1] == "{"]
    return [(line["attempt"], line["status"]) for line in lines if line["event"] == "webhook_sent"]


def test_message_outlives_the_worker_that_failed_to_deliver_it_and_is_replayed(
    stack: EmbeddedStack, receiver: WebhookReceiver
) -> None:
    receiver.statuses = [500]
    with httpx.Client(base_url=stack.base_url, timeout=30) as client:
        hook = client.post("/v1/webhooks", json={"url": receiver.url}).raise_for_status().json()
        job = _upload(client, 1)["job"]
        _until(lambda: len(receiver.received) == 1)
        _until(lambda: _sent(stack, _SENDER) == [(1, 500)])
        os.kill(stack.pids[_SENDER], signal.SIGKILL)
        _until(lambda: len(receiver.received) == 2)
        messages = f"/v1/webhooks/{hook['id']}/messages"
        _until(lambda: client.get(messages).json()["items"][0]["state"] == "delivered")
        [message] = client.get(messages).json()["items"]
        client.post(f"{messages}/{message['id']}/replay").raise_for_status()
        _until(lambda: len(receiver.received) == 3)
        _until(lambda: client.get(messages).json()["items"][0]["state"] == "delivered")
    assert message["attempts"] == 2
    # The last process knows nothing of the first, and the API sends none itself.
    assert _sent(stack, _SENDER) == [(1, 500), (2, 204), (1, 204)]
    assert _sent(stack, "api") == []
    told = [_verified(hook["secret"], delivery) for delivery in receiver.received]
    assert {delivery.headers["webhook-id"] for delivery in receiver.received} == {message["id"]}
    assert all((one["type"], one["data"]["id"]) == ("job.succeeded", job["id"]) for one in told)
    first, second = (int(delivery.headers["webhook-timestamp"]) for delivery in receiver.received[:2])
    assert second - first >= 4, "it is sent again after a pause of five seconds"


def test_end_of_a_batch_is_told_once(stack: EmbeddedStack, receiver: WebhookReceiver) -> None:
    with httpx.Client(base_url=stack.base_url, timeout=30) as client:
        batch = client.post("/v1/batches", json={"name": "two", "expected": 2}).raise_for_status().json()
        order = {"url": receiver.url, "batch_id": batch["id"]}
        hook = client.post("/v1/webhooks", json=order).raise_for_status().json()
        _upload(client, 1, batch_id=batch["id"])
        time.sleep(4)  # a look at batches that have ended
        assert receiver.received == [], "one picture is missing"
        _upload(client, 2, batch_id=batch["id"])
        _until(lambda: len(receiver.received) == 1)
        time.sleep(4)
    [delivery] = receiver.received
    told = _verified(hook["secret"], delivery)
    assert told["type"] == "batch.ended"
    assert (told["data"]["id"], told["data"]["total"], told["data"]["counts"]["succeeded"]) == (batch["id"], 2, 2)
