"""One picture for which somebody waits, behind a batch: real workers, woken by real messages, take it first."""

import io
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.server.client import Client
from cli.up.stack import EmbeddedStack

_BATCH = 40
_OPTIONS = json.dumps({"mode": "pixel", "describe": "none", "maps": False, "blocks": 4})

_BEGUN_MEANWHILE = 3
"""A turn that was bulk's, one that was under way, and one that began between the upload's commit and its time."""

pytestmark = pytest.mark.timeout(600)


def _picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (seed, 2 * seed, 99)).save(file, "PNG")
    return file.getvalue()


def _moment(job: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(job[name])


def test_upload_overtakes_the_batch_that_waits_and_the_batch_gets_on(tmp_path: Path) -> None:
    one_at_a_time = {"MISC_WORKER_ENCODE_CONCURRENCY": "1"}
    with EmbeddedStack(tmp_path / "data", 0, environment=isolated_environment(os.environ) | one_at_a_time) as stack:
        stack.wait_ready()
        with httpx.Client(base_url=stack.base_url, timeout=60) as http, Client(stack.base_url, None) as client:
            files = [("files", (f"{number}.png", _picture(number), "image/png")) for number in range(_BATCH)]
            batch = http.post("/v1/batches", files=files, data={"options": _OPTIONS}).raise_for_status().json()
            urgent_file = {"file": ("urgent.png", _picture(99), "image/png")}
            answer = http.post("/v1/images", files=urgent_file, data={"options": _OPTIONS})
            urgent = client.wait_for_job(answer.raise_for_status().json()["job"]["id"])
            bulk = [client.wait_for_job(member["job_id"]) for member in batch["images"]]
    assert urgent["state"] == "succeeded" and urgent["priority"] == "interactive"
    assert {job["state"] for job in bulk} == {"succeeded"} and {job["priority"] for job in bulk} == {"bulk"}
    created, started = _moment(urgent, "created_at"), _moment(urgent, "started_at")
    waited = [job for job in bulk if _moment(job, "started_at") > created]
    assert len(waited) > _BEGUN_MEANWHILE, "the batch was done before the upload came"
    assert sum(_moment(job, "started_at") < started for job in waited) <= _BEGUN_MEANWHILE
