"""Painting by diffusion through the whole service: real processes, and published forms of networks at tiny widths."""

import base64
import hashlib
import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from cli.up.stack import EmbeddedStack
from codec.bitstream import Maps, PixelCoarse, Stream, Texts
from codec.bitstream.container import pack
from codec.weights.store import WeightsStore
from tests.tiny.diffbir import add_single

STREAM = Stream(
    96,
    64,
    PixelCoarse(6, 4, 3, bytes(range(24)) * 3),
    Texts(("a red door", "an old clock"), "A house by the sea."),
    Maps(8, (bytes([1] * 32 + [0] * 32), bytes([0] * 32 + [1] * 32))),
)
DATA = pack(STREAM).data

QUICK = {"res": 64, "steps": 6}
LONG = {"res": 128, "steps": 200, "schedule": "staged"}

PREVIEW_BYTES = 10_000

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    folder = tmp_path_factory.mktemp("weights")
    store = WeightsStore(folder / "store")
    add_single(store, folder)
    return store


@contextmanager
def _stack(folder: Path, weights: Path, **more: str) -> Iterator[EmbeddedStack]:
    environment = dict(os.environ) | {
        "MISC_PROFILE": "sd21",
        "MISC_WEIGHTS_PATH": str(weights),
        "MISC_NETWORK_DEVICE": "cpu",
        "MISC_WORKER_PREVIEW_INTERVAL": "0",
        "OMP_NUM_THREADS": "1",
    }
    with EmbeddedStack(folder, port=0, environment=environment | more) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="module")
def stack(weights: WeightsStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A service whose default profile is sd21, whose worker waits for the networks, and lets them go after 2 s."""
    with _stack(
        tmp_path_factory.mktemp("data"), weights.path, MISC_NETWORK_IDLE="2", MISC_WORKER_WARM_UP="first"
    ) as stack:
        yield stack


@pytest.fixture
def client(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, timeout=30) as client:
        yield client


def _taken_in(client: httpx.Client) -> str:
    answer = client.post("/v1/bitstreams", content=DATA, params={"name": "a.misc"})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["image"]["id"]


def _order(client: httpx.Client, **options: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/images/{_taken_in(client)}/reconstructions", json=options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def _events(client: httpx.Client, job_id: str) -> Iterator[tuple[str, str, Any]]:
    """Id, name and data of each event, until the job has ended."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


def _job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return client.get(f"/v1/jobs/{job_id}").json()


def _ended(client: httpx.Client, ordered: dict[str, Any]) -> dict[str, Any]:
    _wait("the job ends", lambda: _job(client, ordered["job"]["id"])["finished_at"] is not None, 120)
    return _job(client, ordered["job"]["id"])


def _picture(client: httpx.Client, ordered: dict[str, Any]) -> bytes:
    assert _ended(client, ordered)["state"] == "succeeded"
    return client.get(f"/v1/reconstructions/{ordered['reconstruction']['id']}/content").content


def _wait(what: str, condition: Callable[[], bool], seconds: float) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def _log(stack: EmbeddedStack, event: str) -> int:
    """How often the decode worker logged an event."""
    return sum(path.read_text().count(event) for path in stack.logs.glob("decode-1*"))


def test_worker_is_ready_with_its_networks_loaded(stack: EmbeddedStack) -> None:
    log = "".join(path.read_text() for path in stack.logs.glob("decode-1*"))
    assert 0 < log.index("warmed_up") < log.index("worker_ready")


def test_picture_is_painted_with_previews_in_order(client: httpx.Client) -> None:
    ordered = _order(client, **QUICK)
    events = list(_events(client, ordered["job"]["id"]))

    assert events[-1][1] == "state" and events[-1][2]["state"] == "succeeded"
    ids = [tuple(map(int, event_id.split("-"))) for event_id, _, _ in events]
    assert ids == sorted(ids)
    previews = [data for _, name, data in events if name == "preview"]
    steps = [preview["step"] for preview in previews]
    assert 4 <= len(previews) <= 12 and steps == sorted(set(steps))
    assert max(steps) < previews[0]["steps"] == 1 + 3 + 6
    for preview in previews:
        assert len(preview["data"]) <= PREVIEW_BYTES
        shown = Image.open(io.BytesIO(base64.b64decode(preview["data"])))
        assert (shown.size, Image.MIME[shown.format or ""]) == (
            (preview["width"], preview["height"]),
            preview["media_type"],
        )
    shares = [data["progress"] for _, name, data in events if name == "progress"]
    assert shares == sorted(shares)

    picture = _picture(client, ordered)
    assert Image.open(io.BytesIO(picture)).size == (96, 64)
    assert b"trainedAlgorithmicMedia" in picture and b"profile sd21" in picture
    row = client.get(f"/v1/reconstructions/{ordered['reconstruction']['id']}").json()
    assert (row["restorer"], row["options"]["profile"]) == ("diffusion", "sd21")
    assert row["seconds"]["restore_diffuse"] > 0
    assert hashlib.sha256(picture).hexdigest() == row["sha256"]


def test_same_stream_is_the_same_picture_in_one_process_and_in_another(
    stack: EmbeddedStack, client: httpx.Client
) -> None:
    pictures, workers = [], []
    for is_other_process in (False, False, True):
        if is_other_process:
            # Whoever comes after it has loaded the networks anew.
            os.kill(stack.pids["decode-1"], signal.SIGKILL)
        ordered = _order(client, seed=5, **QUICK)
        pictures.append(_picture(client, ordered))
        workers.append(_job(client, ordered["job"]["id"])["worker"])
        # Otherwise the next order would be answered with what this one made.
        assert client.delete(f"/v1/images/{ordered['reconstruction']['image_id']}").status_code == 204
    assert pictures[0] == pictures[1] == pictures[2]
    assert workers[0] == workers[1] != workers[2]


def test_cancelled_decode_stops_at_once_and_the_worker_takes_the_next(client: httpx.Client) -> None:
    ordered = _order(client, **LONG)
    job_id = ordered["job"]["id"]
    cancelled_at: list[float] = []
    ended_at = 0.0
    for _, name, _data in _events(client, job_id):
        if name == "preview" and not cancelled_at:
            assert client.post(f"/v1/jobs/{job_id}/cancel").status_code in (200, 202)
            cancelled_at.append(time.monotonic())
        ended_at = time.monotonic()
    assert _job(client, job_id)["state"] == "cancelled"
    assert ended_at - cancelled_at[0] < 3, "the rest of it would take many times as long"
    assert _ended(client, _order(client, seed=11, **QUICK))["state"] == "succeeded"


def test_idle_networks_are_let_go_and_come_back_with_the_next_request(
    stack: EmbeddedStack, client: httpx.Client
) -> None:
    first = _picture(client, _order(client, seed=21, **QUICK))
    released = _log(stack, "idle_networks_evicted")
    _wait("the networks are let go", lambda: _log(stack, "idle_networks_evicted") > released, 30)

    assert client.delete(f"/v1/images/{_taken_in(client)}").status_code == 204
    assert _picture(client, _order(client, seed=21, **QUICK)) == first


def test_missing_weights_fail_the_job_once_and_say_what_fetches_them(tmp_path: Path) -> None:
    with (
        _stack(tmp_path / "data", tmp_path / "no-weights") as stack,
        httpx.Client(base_url=stack.base_url, timeout=30) as client,
    ):
        assert _log(stack, "networks_not_loaded") == 1
        job = _ended(client, _order(client, **QUICK))
        assert (job["state"], job["attempts"], job["error"]["code"]) == ("failed", 1, "weights_missing")
        for word in ("general_full_v1.ckpt", "b511f6be75f60efc", "misc weights pull diffbir-v1-general-full"):
            assert word in job["error"]["message"]
        assert _ended(client, _order(client, profile="lite"))["state"] == "succeeded"
