"""Event streams of jobs that really change, over a real socket and through a real Redis."""

import asyncio
import json
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from api.jobs.events import StreamLimit
from core.jobs import queries, transitions
from core.jobs.job import Claim
from core.settings import BrokerSettings
from models import JobState
from tests.claims import claim_job
from tests.integration.api.conftest import Running

GIF = bytes.fromhex("47494638396101000100800000ffffff0000002c00000000010001000002024401003b")
"""One pixel."""


def _probe(running: Running) -> str:
    return str(running.client.post("/v1/probes", json={"queue": "encode"}).json()["job"]["id"])


def _claim(running: Running, job_id: str) -> Claim:
    claim = claim_job(running.services.database, job_id, "tester:1", timedelta(seconds=30))
    assert claim is not None
    return claim


def _succeed(running: Running, claim: Claim) -> None:
    with running.services.database.write() as session:
        transitions.succeed(session, claim, {"job": 0.1})


@dataclass(frozen=True)
class Event:
    """One event as it came."""

    id: str
    name: str
    data: Any


def _follow(running: Running, job_id: str, **headers: str) -> Generator[Event, None, None]:
    with running.client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}


def _told(event: Event) -> tuple[str, Any]:
    return event.name, event.data["state" if event.name == "state" else "progress"]


def test_watcher_sees_each_step_and_the_stream_ends(running: Running) -> None:
    job_id = _probe(running)
    publish = running.services.events.publish
    seen = []
    for event in _follow(running, job_id):
        seen.append(event)
        if len(seen) == 1:
            claim = _claim(running, job_id)
        elif len(seen) == 2:
            publish(job_id, "progress", {"stage": "describe", "progress": 0.25, "state": "running"})
        elif len(seen) == 3:
            _succeed(running, claim)
    assert [_told(event) for event in seen] == [
        ("state", "queued"),
        ("state", "running"),
        ("progress", 0.25),
        ("state", "succeeded"),
    ]
    assert seen[0].data["queue_position"] == 0
    assert seen[3].data["seconds"] == {"job": 0.1}
    ids = [tuple(map(int, event.id.split("-"))) for event in seen]
    assert ids == sorted(ids) and len(set(ids)) == 4


def test_watcher_goes_on_after_the_last_event_it_saw(running: Running) -> None:
    job_id = _probe(running)
    publish = running.services.events.publish
    first = next(_follow(running, job_id))
    claim = _claim(running, job_id)
    for step in range(3):
        publish(job_id, "progress", {"stage": "pack", "progress": step / 4, "state": "running"})
    _succeed(running, claim)
    time.sleep(0.2)
    # From the start: the state is told as it is now, which ends the stream; nothing is told of what was.
    assert [_told(event) for event in _follow(running, job_id)] == [("state", "succeeded")]
    resumed = list(_follow(running, job_id, **{"Last-Event-ID": first.id}))
    # The first state event that is met finds the job ended.
    assert _told(resumed[0]) == ("state", "succeeded")


def test_watcher_misses_no_progress_between_two_connections(running: Running) -> None:
    job_id = _probe(running)
    publish = running.services.events.publish
    claim = _claim(running, job_id)
    for step in range(4):
        publish(job_id, "progress", {"stage": "pack", "progress": step / 4, "state": "running"})
    time.sleep(0.5)  # events are gathered for a moment before they are sent
    stream = _follow(running, job_id, **{"Last-Event-ID": "0-0"})
    half = [next(stream), next(stream)]
    stream.close()
    threading.Timer(0.3, _succeed, (running, claim)).start()
    rest = list(_follow(running, job_id, **{"Last-Event-ID": half[-1].id}))
    assert [_told(event)[1] for event in half + rest] == ["running", 0.0, 0.25, 0.5, 0.75, "running", "succeeded"]


def test_watcher_is_told_the_end_when_the_news_of_it_was_lost(running: Running) -> None:
    job_id = _probe(running)
    running.services.database.publish = lambda *_: None
    seen = []
    for event in _follow(running, job_id):
        seen.append(_told(event))
        if len(seen) == 1:
            _succeed(running, _claim(running, job_id))
    assert seen == [("state", "queued"), ("state", "succeeded")]


def test_watcher_of_a_deleted_job_is_let_go(running: Running) -> None:
    body = running.client.post("/v1/images", files={"file": ("a.gif", GIF)}).json()
    seen = []
    for event in _follow(running, body["job"]["id"]):
        seen.append(_told(event))
        assert running.client.delete(body["image"]["links"]["self"]).status_code == 204
    assert seen == [("state", "queued")]


def test_cancelling_is_news(running: Running) -> None:
    job_id = _probe(running)
    seen = []
    for event in _follow(running, job_id):
        seen.append(_told(event))
        if len(seen) == 1:
            running.client.post(f"/v1/jobs/{job_id}/cancel")
    assert seen == [("state", "queued"), ("state", "cancelled")]


def test_open_stream_does_not_hold_the_server_up(running: Running) -> None:
    stream = _follow(running, _probe(running))
    next(stream)
    running.server.should_exit = True
    started = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - started < 3


def test_wake_up_reaches_the_queue_and_its_outbox_row_goes(running: Running, broker_settings: BrokerSettings) -> None:
    _probe(running)
    deadline = time.monotonic() + 5
    while running.services.broker.waiting("encode") < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while "misc_outbox_rows 0.0" not in running.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert running.client.get("/readyz").json() == {"status": "ready", "failed": {}, "degraded": []}
    with running.services.database.read() as session:
        assert queries.count_open(session) == {("encode", JobState.QUEUED): 1}


@pytest.mark.parametrize("nul", ["%00", "\\u0000"])
def test_characters_that_a_database_cannot_hold_are_no_defect(running: Running, nul: str) -> None:
    client = running.client
    for path in (f"/v1/images/{nul}", f"/v1/jobs/job_{nul}", f"/v1/batches/{nul}", f"/v1/jobs?image_id={nul}"):
        assert 400 <= client.get(path).status_code < 500
    for name, options in ((f"a{nul}.png", "{}"), ("a.png", '{"text": "a\\u0000b"}')):
        answer = client.post("/v1/images", files={"file": (name, GIF)}, data={"options": options})
        assert answer.status_code == 202, answer.text
        assert client.get(answer.json()["image"]["links"]["self"]).status_code == 200
    answer = client.post("/v1/batches", json={"name": "a\u0000b"})
    assert (answer.status_code, answer.json()["name"]) == (201, "ab")


def test_many_at_once_with_one_key_make_one_job(running: Running) -> None:
    answers: list[Any] = []

    def _send() -> None:
        headers = {"Idempotency-Key": "shared"}
        answers.append(running.client.post("/v1/probes", json={"queue": "decode"}, headers=headers))

    threads = [threading.Thread(target=_send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["job"]["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(running.client.get("/v1/jobs").json()["items"]) == 1


def test_hundreds_of_watchers_see_every_step_over_few_connections(running: Running) -> None:
    job_ids = [_probe(running) for _ in range(6)]
    reader = running.services.event_reader
    publish = running.services.events.publish

    async def _progress(job_id: str) -> list[float]:
        return [event.data["progress"] async for event in reader.follow(job_id, "0", 3.0)]

    async def _watch_all() -> list[list[float]]:
        watchers = [asyncio.create_task(_progress(job_id)) for job_id in job_ids for _ in range(60)]
        await asyncio.sleep(0.5)
        for step in range(5):
            for job_id in job_ids:
                publish(job_id, "progress", {"progress": step / 4})
        return await asyncio.gather(*watchers)

    assert asyncio.run(_watch_all()) == [[0.0, 0.25, 0.5, 0.75, 1.0]] * 360


def test_later_watcher_of_a_watched_job_starts_from_its_own_place(running: Running) -> None:
    job_id = _probe(running)
    reader = running.services.event_reader
    publish = running.services.events.publish

    async def _watch() -> tuple[list[int], list[int]]:
        async def _steps(seconds: float) -> list[int]:
            return [event.data["step"] async for event in reader.follow(job_id, "0", seconds)]

        first = asyncio.create_task(_steps(2.0))
        publish(job_id, "progress", {"step": 1})
        await asyncio.sleep(0.6)
        second = asyncio.create_task(_steps(1.5))
        await asyncio.sleep(0.2)
        publish(job_id, "progress", {"step": 2})
        return await first, await second

    assert asyncio.run(_watch()) == ([1, 2], [1, 2])


def test_streams_beyond_the_limit_are_refused_and_freed_when_they_end(running: Running) -> None:
    running.server.config.app.state.stream_limit = StreamLimit(8)  # type: ignore[union-attr]
    job_id = _probe(running)
    streams = [_follow(running, job_id) for _ in range(2)]
    for stream in streams:
        assert next(stream).name == "state"
    refused = running.client.get(f"/v1/jobs/{job_id}/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "limit_reached")
    assert int(refused.headers["retry-after"]) > 0
    streams[0].close()
    deadline = time.monotonic() + 10
    while running.client.get("/v1/jobs/" + job_id).status_code == 200:
        third = _follow(running, job_id)
        try:
            assert next(third).name == "state"
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
