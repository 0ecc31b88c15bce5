"""A batch as a group: what it expects, what became of each picture, and the stream that follows all of it."""

import json
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.batches.events import _Pace
from api.services import Services
from api.uploads import plain_folder
from core.archive import batches
from core.archive.batches import BatchCounts
from core.errors import RequestInvalid
from models import Image, ImageState, Job, JobState
from tests.unit.api.samples import picture, submit


def _batch(client: TestClient, **body: Any) -> str:
    return str(client.post("/v1/batches", json=body).json()["id"])


def _end(services: Services, submitted: dict[str, Any], state: JobState, code: str | None = None) -> None:
    """End a picture's job, and give a ready one a stream of 100 bytes."""
    with services.database.write() as session:
        job = session.get(Job, submitted["job"]["id"])
        image = session.get(Image, submitted["image"]["id"])
        assert job is not None and image is not None
        job.state, job.error_code, job.error_message = state, code, code and "It is so."
        image.state = ImageState.READY if state is JobState.SUCCEEDED else ImageState(state.value)
        if image.state is ImageState.READY:
            image.bitstream_bytes, image.bitstream_sha256 = 100, "ab" * 32


def _manifest(client: TestClient, batch_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/v1/batches/{batch_id}/manifest").text.splitlines()]


def _events(client: TestClient, batch_id: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
    """The ids and data of a stream that ends by itself."""
    answer = client.get(f"/v1/batches/{batch_id}/events", headers=headers)
    assert answer.status_code == 200, answer.text
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((int(fields["id"]), json.loads(fields["data"])))
    return found


def test_batch_is_done_when_all_that_was_announced_has_ended(client: TestClient, services: Services) -> None:
    batch_id = _batch(client, name="spring", expected=4)
    sent = [submit(client, picture(number), f"{number}.png", batch_id=batch_id) for number in range(3)]
    for one in sent:
        _end(services, one, JobState.SUCCEEDED)
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert (batch["expected"], batch["total"], batch["progress"], batch["is_done"]) == (4, 3, 0.75, False)
    changed = client.patch(f"/v1/batches/{batch_id}", json={"expected": 3}).json()
    assert (changed["expected"], changed["progress"], changed["is_done"]) == (3, 1.0, True)
    # A picture that is deleted is not waited for.
    assert client.delete(f"/v1/images/{sent[0]['image']['id']}").status_code == 204
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert (batch["expected"], batch["total"], batch["is_done"]) == (2, 2, True)


def test_picture_that_cannot_be_taken_is_told_once_and_forgotten_when_it_can(client: TestClient) -> None:
    batch_id = _batch(client, expected=1)
    for data in (b"Dear reader", picture()[:40]):
        answer = client.post(
            "/v1/images",
            files={"file": ("may/boat.png", data)},
            data={"options": json.dumps({"batch_id": batch_id})},
        )
        assert answer.status_code in (415, 422)
    batch = client.get(f"/v1/batches/{batch_id}").json()
    assert (batch["rejections"], batch["total"], batch["progress"], batch["is_done"]) == (1, 0, 1.0, True)
    line = {"name": "may/boat.png", "image_id": None, "state": "rejected", "bytes": None}
    only = _manifest(client, batch_id)
    assert len(only) == 1 and line.items() <= only[0].items()
    assert only[0]["error"]["code"] == "picture_truncated"
    submit(client, picture(), "may/boat.png", batch_id=batch_id)
    assert [(one["name"], one["state"]) for one in _manifest(client, batch_id)] == [("may/boat.png", "pending")]
    assert client.get(f"/v1/batches/{batch_id}").json()["rejections"] == 0


def test_report_has_the_quality_of_what_was_verified(client: TestClient, services: Services) -> None:
    batch_id = _batch(client, name="spring")
    sent = [submit(client, picture(number), f"{number}.png", batch_id=batch_id) for number in range(3)]
    figures = ({"psnr-rgb": 24.0, "lpips-alex": 0.2}, {"psnr-rgb": 30.0, "lpips-alex": 0.4}, None)
    for one, measured in zip(sent, figures, strict=True):
        _end(services, one, JobState.SUCCEEDED)
        if measured is not None:
            with services.database.write() as session:
                image = session.get(Image, one["image"]["id"])
                assert image is not None
                image.quality = {"figures": measured}
    report = client.get(f"/v1/batches/{batch_id}/report").json()
    assert report["quality"] == {
        "lpips-alex": {"count": 2, "mean": pytest.approx(0.3), "worst": 0.4},
        "psnr-rgb": {"count": 2, "mean": 27.0, "worst": 24.0},
    }
    assert [line["quality"] for line in _manifest(client, batch_id)] == list(figures)


def test_report_has_counts_bits_and_failures_by_reason(client: TestClient, services: Services) -> None:
    files = [("files", (f"a/{number}.png", picture(number))) for number in range(4)] + [("files", ("x.png", b"no"))]
    made = client.post("/v1/batches", files=files).json()
    sent = [
        {"image": {"id": one["image_id"]}, "job": {"id": one["job_id"]}, "name": one["name"]} for one in made["images"]
    ]
    assert [one["name"] for one in sent] == [f"a/{number}.png" for number in range(4)]
    _end(services, sent[0], JobState.SUCCEEDED)
    _end(services, sent[1], JobState.SUCCEEDED)
    _end(services, sent[2], JobState.FAILED, "budget_unreachable")
    report = client.get(f"/v1/batches/{made['id']}/report").json()
    assert report["images"] == {"pending": 1, "ready": 2, "failed": 1, "cancelled": 0}
    assert (report["missing"], report["bitstream_bytes"], report["pixels"]) == (0, 200, 2 * 24 * 16)
    assert report["bpp"] == report["least_bpp"] == report["most_bpp"] == pytest.approx(100 * 8 / (24 * 16))
    assert report["failures"] == [
        {"code": "budget_unreachable", "count": 1, "names": ["a/2.png"]},
        {"code": "picture_unrecognised", "count": 1, "names": ["x.png"]},
    ]
    assert report["seconds"] is None and report["batch"]["is_done"] is False
    lines = {line["name"]: line for line in _manifest(client, made["id"])}
    assert sorted(lines) == ["a/0.png", "a/1.png", "a/2.png", "a/3.png", "x.png"] and list(lines)[-1] == "x.png"
    assert (lines["a/0.png"]["state"], lines["a/0.png"]["sha256"], lines["a/0.png"]["bytes"]) == (
        "ready",
        "ab" * 32,
        100,
    )
    assert lines["a/2.png"]["error"] == {"code": "budget_unreachable", "message": "It is so."}


def test_manifest_of_many_pages_has_every_picture_once(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batches.contents._LINES_AT_ONCE", 2)
    files = [("files", (f"{number}.png", picture(number))) for number in range(4)]
    batch_id = client.post("/v1/batches", files=files).json()["id"]
    with services.database.write() as session:
        batches.reject(session, batch_id, [batches.Rejection(f"{name}.png", "picture_empty", "") for name in "abcd"])
    names = [line["name"] for line in _manifest(client, batch_id)]
    assert sorted(names) == sorted([*(f"{number}.png" for number in range(4)), "a.png", "b.png", "c.png", "d.png"])


def test_stream_ends_with_the_batch_and_never_goes_back(client: TestClient, services: Services) -> None:
    batch_id = _batch(client, expected=2)
    sent = [submit(client, picture(number), batch_id=batch_id) for number in range(2)]

    def _progress(job_id: str, value: float) -> None:
        with services.database.write() as session:
            job = session.get(Job, job_id)
            assert job is not None
            job.state, job.progress = JobState.RUNNING, value

    def _work() -> None:
        time.sleep(0.3)
        for value in (0.9, 0.1):  # as when its worker dies and another one begins anew
            _progress(sent[0]["job"]["id"], value)
            time.sleep(1.2)
        _end(services, sent[0], JobState.SUCCEEDED)
        _end(services, sent[1], JobState.FAILED, "worker_lost")

    worker = threading.Thread(target=_work)
    worker.start()
    events = _events(client, batch_id)
    worker.join()
    told = [data["progress"] for _, data in events]
    assert told == sorted(told) and told[0] == 0.0 and told[-1] == 1.0 and 0.45 in told
    assert [round(value * 1e6) for value in told] == [event_id for event_id, _ in events]
    assert events[-1][1]["is_done"] and events[-1][1]["seconds_left"] == 0.0
    assert events[-1][1]["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 1, "cancelled": 0}


def test_stream_goes_on_where_another_one_ended(client: TestClient) -> None:
    done = _batch(client, expected=0)
    assert [(event_id, data["is_done"]) for event_id, data in _events(client, done)] == [(1_000_000, True)]
    assert [event_id for event_id, _ in _events(client, done, **{"Last-Event-ID": "400000"})] == [1_000_000]
    refused = client.get(f"/v1/batches/{done}/events", headers={"Last-Event-ID": "12-0"})
    assert (refused.status_code, refused.json()["code"]) == (400, "request_invalid")


def test_time_left_is_told_by_the_pace_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("api.batches.events.time.monotonic", lambda: now)
    pace = _Pace()
    pace.note(0.0)
    assert pace.seconds_left(0.0) is None
    for now in range(1, 201):  # a hundredth in two seconds, then four times as fast
        pace.note(now * 0.0005 if now < 100 else 0.05 + (now - 100) * 0.002)
    assert pace.seconds_left(0.25) == pytest.approx(0.75 / 0.002, rel=0.01)


def test_counts_are_those_of_a_whole_that_was_announced() -> None:
    counts = BatchCounts({JobState.SUCCEEDED: 2, JobState.RUNNING: 1}, advanced=2.5, rejected=1, expected=10)
    assert (counts.total, counts.missing, counts.progress, counts.is_done) == (3, 6, 0.35, False)
    assert BatchCounts({JobState.SUCCEEDED: 3}, 3.0, 0, 2).is_done


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a.png", ""),
        ("2024/may/a.png", "2024/may"),
        ("2024\\may\\a.png", "2024/may"),
        ("./x/../y/a.png", "x/y"),
        ("/home/me/a.png", ""),
        ("C:\\fakepath\\a.png", ""),
        ("\\\\server\\share\\a.png", ""),
        ("x\u202e/\0/a.png", "x/folder"),
    ],
)
def test_folders_of_relative_paths_are_kept_without_tricks(name: str, folder: str) -> None:
    assert plain_folder(name) == folder


def test_folders_that_are_too_long_are_refused(client: TestClient) -> None:
    with pytest.raises(RequestInvalid, match="500"):
        plain_folder("/".join(["x" * 200] * 3) + "/a.png")
    image = submit(client, picture(), "2024/may/boat.png")["image"]
    assert (image["folder"], image["name"]) == ("2024/may", "boat.png")


@pytest.mark.parametrize("body", [{"expected": -1}, {"expected": "many"}, {"name": "x"}, {}])
def test_change_of_a_batch_is_checked(client: TestClient, body: dict[str, object]) -> None:
    answer = client.patch(f"/v1/batches/{_batch(client)}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
