"""The line that says who did what."""

import hashlib
from typing import Any

from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tests.unit.api.conftest import Opener
from tests.unit.api.samples import submit


def _lines(events: list[Any]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "audit"]


def test_upload_and_deletion_say_what_they_made_and_deleted(client: TestClient) -> None:
    with capture_logs() as events:
        body = submit(client)
        client.delete(body["image"]["links"]["self"])
    made, deleted = _lines(events)
    assert (made["method"], made["route"], made["status"], made["outcome"]) == ("POST", "/v1/images", 202, "done")
    assert set(made["objects"]) == {body["image"]["id"], body["job"]["id"]}
    assert (deleted["method"], deleted["route"]) == ("DELETE", "/v1/images/{image_id}")
    assert deleted["objects"] == [body["image"]["id"]]


def test_looking_leaves_no_line(client: TestClient) -> None:
    with capture_logs() as events:
        client.get("/v1/jobs")
        client.get("/healthz")
    assert _lines(events) == []


def test_callers_are_told_apart_without_their_keys_and_refusals_are_lines_too(open_client: Opener) -> None:
    client = open_client(keys="first-key-of-all,second-key")
    with capture_logs() as events:
        for key in ("first-key-of-all", "second-key", "no-such-key"):
            client.post("/v1/probes", json={"queue": "encode"}, headers={"Authorization": f"Bearer {key}"})
        client.post("/v1/jobs/job_00000000000000000000000000/cancel", headers={"Authorization": "Bearer second-key"})
    first, second, nobody, missing = _lines(events)
    assert first["key"] == hashlib.sha256(b"first-key-of-all").hexdigest()[:16] != second["key"]
    assert (nobody["owner"], nobody["key"], nobody["status"], nobody["outcome"]) == (None, None, 401, "refused")
    assert (missing["objects"], missing["status"]) == (["job_00000000000000000000000000"], 404)
    values = "".join(str(value) for line in (first, second, nobody, missing) for value in line.values())
    assert "key" not in values


def test_names_of_files_are_in_no_line(client: TestClient) -> None:
    with capture_logs() as events:
        client.post("/v1/images", files={"file": ("holiday-with-anna.png", b"no picture", "image/png")})
    (line,) = _lines(events)
    assert (line["status"], line["objects"]) == (415, [])
    assert "anna" not in str(line)
