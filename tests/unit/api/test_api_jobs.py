"""Listing, looking at, cancelling and retrying jobs, and the parts of their events that need no Redis."""

import json
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.services import Services
from core.jobs import transitions
from models import Image, Job, JobState, OutboxRow
from tests.claims import claim_job
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import submit


def _probe(client: TestClient, queue: str = "encode") -> str:
    answer = client.post("/v1/probes", json={"queue": queue})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job"]["id"])


def test_probe_is_a_job_with_a_promised_wake_up(client: TestClient, services: Services) -> None:
    answer = client.post("/v1/probes", json={"queue": "decode"})
    job = client.get(answer.headers["location"]).json()
    assert (job["kind"], job["queue"], job["state"], job["image_id"]) == ("probe", "decode", "queued", None)
    assert job["id"] == answer.json()["job"]["id"]
    assert job["request_id"] == answer.headers["x-request-id"]
    with services.database.read() as session:
        assert session.execute(select(OutboxRow.job_id, OutboxRow.queue)).all() == [(job["id"], "decode")]


@pytest.mark.parametrize(
    "body", [{}, {"queue": "x"}, {"queue": None}, {"queue": ["encode"]}, {"queue": "encode", "n": 1}, []]
)
def test_probe_of_no_queue_is_refused(client: TestClient, body: object) -> None:
    answer = client.post("/v1/probes", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")


def test_queue_position_counts_those_before_it(client: TestClient) -> None:
    ids = [_probe(client) for _ in range(3)]
    _probe(client, "decode")
    assert [client.get(f"/v1/jobs/{job_id}").json()["queue_position"] for job_id in ids] == [0, 1, 2]


def test_list_is_filtered_and_goes_on(client: TestClient) -> None:
    body = submit(client)
    probes = [_probe(client) for _ in range(3)]
    assert [job["id"] for job in client.get("/v1/jobs?kind=encode").json()["items"]] == [body["job"]["id"]]
    assert [job["id"] for job in client.get(body["image"]["links"]["jobs"]).json()["items"]] == [body["job"]["id"]]
    first = client.get("/v1/jobs?kind=probe&limit=2").json()
    rest = client.get(f"/v1/jobs?kind=probe&limit=2&cursor={first['next_cursor']}").json()
    assert [job["id"] for job in first["items"] + rest["items"]] == probes[::-1]
    assert rest["next_cursor"] is None


def test_waiting_job_is_cancelled_with_its_image(client: TestClient) -> None:
    body = submit(client)
    job = client.post(body["job"]["links"]["cancel"]).json()
    assert (job["state"], job["finished_at"] is not None) == ("cancelled", True)
    assert client.get(body["image"]["links"]["self"]).json()["state"] == "cancelled"
    assert client.post(body["job"]["links"]["cancel"]).json()["state"] == "cancelled"


def test_running_job_is_asked_to_stop_and_an_ended_one_stays(client: TestClient, services: Services) -> None:
    running, ended = _probe(client), _probe(client)
    with services.database.write() as session:
        for job_id, state in ((running, JobState.RUNNING), (ended, JobState.SUCCEEDED)):
            job = session.get(Job, job_id)
            assert job is not None
            job.state = state
    answer = client.post(f"/v1/jobs/{running}/cancel").json()
    assert (answer["state"], answer["cancel_requested"]) == ("running", True)
    answer = client.post(f"/v1/jobs/{ended}/cancel").json()
    assert (answer["state"], answer["cancel_requested"]) == ("succeeded", False)


def test_error_is_told_unless_a_later_attempt_succeeded(client: TestClient, services: Services) -> None:
    job_id = _probe(client)
    for state, error in (
        (JobState.FAILED, {"code": "picture_truncated", "message": "It is cut off."}),
        (JobState.SUCCEEDED, None),
    ):
        with services.database.write() as session:
            job = session.get(Job, job_id)
            assert job is not None
            job.state, job.error_code, job.error_message = state, "picture_truncated", "It is cut off."
        assert client.get(f"/v1/jobs/{job_id}").json()["error"] == error


def test_events_of_an_ended_job_are_its_end_and_nothing_else(client: TestClient) -> None:
    job_id = _probe(client)
    client.post(f"/v1/jobs/{job_id}/cancel")
    for headers in ({}, {"Last-Event-ID": "5-0"}):
        answer = client.get(f"/v1/jobs/{job_id}/events", headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        lines = dict(line.split(": ", 1) for line in answer.text.strip().split("\n"))
        assert lines["event"] == "state"
        assert json.loads(lines["data"])["state"] == "cancelled"


@pytest.mark.parametrize("last_id", ["later", "1-2-3", "-1", "99999999999999999999", "1-99999999999999999999"])
def test_unknown_last_event_id_is_refused(client: TestClient, last_id: str) -> None:
    answer = client.get(f"/v1/jobs/{_probe(client)}/events", headers={"Last-Event-ID": last_id})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")


def _fail(services: Services, job_id: str, code: str) -> None:
    claim = claim_job(services.database, job_id, "worker", timedelta(seconds=15))
    assert claim is not None
    with services.database.write() as session:
        transitions.fail(session, claim, code, "message")


def test_failed_job_is_retried_with_all_its_attempts_and_its_image_waits_for_it_again(
    client: TestClient, services: Services
) -> None:
    body = submit(client)
    job_id, image_path = body["job"]["id"], body["image"]["links"]["self"]
    _fail(services, job_id, "worker_lost")
    assert client.get(image_path).json()["state"] == "failed"
    answer = client.post(body["job"]["links"]["retry"])
    assert answer.status_code == 202, answer.text
    job = client.get(answer.headers["location"]).json()
    assert (job["id"], job["state"], job["attempts"], job["finished_at"]) == (job_id, "queued", 0, None)
    assert client.get(image_path).json()["state"] == "pending"
    assert claim_job(services.database, job_id, "worker", timedelta(seconds=15)) is not None


def test_retry_of_a_job_that_did_not_end_badly_is_a_conflict(client: TestClient, services: Services) -> None:
    body = submit(client)
    retry = body["job"]["links"]["retry"]
    answer = client.post(retry)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert client.post("/v1/jobs/job_00000000000000000000000000/retry").status_code == 404
    client.post(body["job"]["links"]["cancel"])
    assert client.post(retry).status_code == 202, "a cancelled job may be wanted after all"


def test_retry_sent_twice_with_one_key_is_done_once(client: TestClient) -> None:
    body = submit(client)
    client.post(body["job"]["links"]["cancel"])
    first, second = (client.post(body["job"]["links"]["retry"], headers={"Idempotency-Key": "again"}) for _ in "12")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["idempotency-replayed"] == "true" and first.json() == second.json()


def test_job_whose_original_is_gone_is_not_retried_and_stays_failed(client: TestClient, services: Services) -> None:
    body = submit(client)
    job_id = body["job"]["id"]
    _fail(services, job_id, "worker_lost")
    with services.database.write() as session:
        session.execute(update(Image).values(original_key=None))
    answer = client.post(body["job"]["links"]["retry"])
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "original" in answer.json()["detail"]
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "failed"


def test_retries_by_code_stop_at_a_full_queue(open_client: Opener) -> None:
    client = open_client(max_open_jobs=3)
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    for job_id in [_probe(client) for _ in range(3)]:
        _fail(services, job_id, "worker_lost")
    for _ in range(2):
        _probe(client)
    answer = client.post("/v1/jobs/retry?code=worker_lost")
    assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached")
    assert len(client.get("/v1/jobs?state=failed").json()["items"]) == 3


def test_failed_jobs_are_listed_and_retried_by_code(client: TestClient, services: Services) -> None:
    lost = [_probe(client) for _ in range(5)]
    other = _probe(client)
    for job_id in lost:
        _fail(services, job_id, "worker_lost")
    _fail(services, other, "internal_error")
    listed = [job["id"] for job in client.get("/v1/jobs?code=worker_lost").json()["items"]]
    assert sorted(listed) == sorted(lost)
    unwanted = submit(client)["job"]["id"]
    _fail(services, unwanted, "worker_lost")
    with services.database.write() as session:
        session.execute(update(Image).values(original_key=None))
    retried, refused, cursor = [], [], ""
    while cursor is not None:
        page = client.post(f"/v1/jobs/retry?code=worker_lost&limit=4{cursor and f'&cursor={cursor}'}").json()
        retried += page["retried"]
        refused += page["refused"]
        cursor = page["next_cursor"]
    assert sorted(retried) == sorted(lost)
    assert [entry["id"] for entry in refused] == [unwanted] and "original" in refused[0]["detail"]
    states = {job_id: client.get(f"/v1/jobs/{job_id}").json()["state"] for job_id in [*lost, other, unwanted]}
    assert states == dict.fromkeys(lost, "queued") | {other: "failed", unwanted: "failed"}
    assert client.post("/v1/jobs/retry").status_code == 400
    assert client.post("/v1/jobs/retry?code=Worker!").status_code == 400
