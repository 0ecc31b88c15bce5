"""`Prefer: wait=30`: the answer has the end of what was ordered where that comes in time, and is the usual one else."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import select

from api.prefer import _seconds_of
from api.services import Services
from core.jobs import transitions
from models import Job, JobState
from tests.claims import claim_job
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import picture, stream


@pytest.fixture
def quick(open_client: Opener) -> TestClient:
    """An application that looks at the database often, as there is no Redis to tell it."""
    return open_client(events_poll=timedelta(milliseconds=100))


def _services(client: TestClient) -> Services:
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services


def _submit(client: TestClient, prefer: str, key: str | None = None) -> Response:
    headers = {"Prefer": prefer} | ({} if key is None else {"Idempotency-Key": key})
    return client.post("/v1/images", files={"file": ("a.png", picture())}, headers=headers)


def _end_all(services: Services, end: Callable[[Services, str], None]) -> threading.Thread:
    """End every open job half a second after there is one."""

    def _work() -> None:
        ids: list[str] = []
        while not ids:
            time.sleep(0.5)
            with services.database.read() as session:
                ids = list(session.scalars(select(Job.id).where(Job.state == JobState.QUEUED)))
        for job_id in ids:
            end(services, job_id)

    thread = threading.Thread(target=_work)
    thread.start()
    return thread


def _succeed(services: Services, job_id: str) -> None:
    claim = claim_job(services.database, job_id, "w", timedelta(seconds=30))
    assert claim is not None
    with services.database.write() as session:
        transitions.succeed(session, claim, {"job": 0.1})


def _fail(services: Services, job_id: str) -> None:
    claim = claim_job(services.database, job_id, "w", timedelta(seconds=30))
    assert claim is not None
    with services.database.write() as session:
        transitions.fail(session, claim, "budget_unreachable", "It is too small.")


@pytest.mark.parametrize(("end", "state"), [(_succeed, "succeeded"), (_fail, "failed")])
def test_answer_waits_for_the_end_however_it_is(quick: TestClient, end: Callable[..., None], state: str) -> None:
    worker = _end_all(_services(quick), end)
    answer = _submit(quick, "wait=30")
    worker.join()
    body = answer.json()
    assert (answer.status_code, body["job"]["state"], body["image"]["job"]["state"]) == (200, state, state)
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["location"] == body["job"]["links"]["self"]
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_end_that_does_not_come_in_time_is_a_usual_answer(quick: TestClient) -> None:
    began = time.monotonic()
    answer = _submit(quick, "respond-async, wait=1")
    assert 1 <= time.monotonic() - began < 10
    assert (answer.status_code, answer.json()["job"]["state"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"


def test_repetition_waits_too(quick: TestClient) -> None:
    first = _submit(quick, "wait=0", "one")
    assert first.status_code == 202 and "preference-applied" not in first.headers
    worker = _end_all(_services(quick), _succeed)
    again = _submit(quick, "wait=30", "one")
    worker.join()
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["job"]["id"] == first.json()["job"]["id"]


def test_order_of_samples_waits_for_all(quick: TestClient) -> None:
    image = quick.post("/v1/bitstreams", content=stream()).json()["image"]["id"]
    worker = _end_all(_services(quick), _succeed)
    path = f"/v1/images/{image}/reconstructions"
    answer = quick.post(path, json={"samples": 2, "seed": 1, "restorer": "diffusion"}, headers={"Prefer": "wait=30"})
    worker.join()
    body = answer.json()
    assert answer.status_code == 200 and len(body["samples"]) == 2
    assert [one["job"]["state"] for one in body["samples"]] == ["succeeded"] * 2


def test_nobody_waits_where_too_many_do(open_client: Opener) -> None:
    client = open_client(max_event_streams=1, events_poll=timedelta(milliseconds=100))
    waiting = threading.Thread(target=lambda: _submit(client, "wait=3"))
    waiting.start()
    time.sleep(1)
    began = time.monotonic()
    answer = client.post(
        "/v1/images",
        files={"file": ("b.png", picture(1))},
        headers={"Prefer": "wait=9"},
    )
    assert answer.status_code == 202 and "preference-applied" not in answer.headers
    assert time.monotonic() - began < 5
    waiting.join()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=30", 30),
        ('handling=lenient; WAIT = "5"', 5),
        ("return=minimal, wait=999", 60),
        ("wait=-1", 0),
        ("await=3", 0),
    ],
)
def test_preference_is_read_as_it_is_written(header: str, seconds: float) -> None:
    class _Request:
        class headers:  # noqa: N801 - the attribute of a request
            @staticmethod
            def getlist(_: str) -> list[str]:
                return [header]

    assert _seconds_of(_Request()) == seconds  # type: ignore[arg-type]
