"""The list of worker processes, and asking one to take no more jobs."""

from datetime import timedelta

from fastapi.testclient import TestClient
from sqlalchemy import update

from core.database import Database
from core.jobs import workers
from core.jobs.workers import NewWorker
from models.base import new_id, utc_now
from models.worker import Worker


def introduced(database: Database, running: int = 0) -> NewWorker:
    worker = NewWorker(new_id("wrk"), "encode@host:4711", ("encode", "maintenance"), 32, "0.1.0")
    assert workers.tell(database, worker, running) is False
    return worker


def test_worker_is_listed_until_it_leaves(client: TestClient, database: Database) -> None:
    worker = introduced(database, running=3)
    [listed] = client.get("/v1/workers").json()["items"]
    assert (listed["id"], listed["name"], listed["state"]) == (worker.id, "encode@host:4711", "alive")
    assert (listed["queues"], listed["running"], listed["threads"]) == (["encode", "maintenance"], 3, 32)
    workers.leave(database, worker.id)
    assert client.get("/v1/workers").json() == {"items": []}


def test_drained_worker_hears_of_it_with_its_next_heartbeat_and_may_be_resumed(
    client: TestClient, database: Database
) -> None:
    worker = introduced(database, running=1)
    assert client.post(f"/v1/workers/{worker.id}/drain").json()["state"] == "draining"
    assert workers.tell(database, worker, 1) is True
    assert workers.tell(database, worker, 0) is True
    assert client.get("/v1/workers").json()["items"][0]["state"] == "drained"
    assert client.post(f"/v1/workers/{worker.id}/resume").json()["state"] == "alive"
    assert workers.tell(database, worker, 0) is False


def test_silent_worker_is_lost_and_forgotten_after_an_hour(client: TestClient, database: Database) -> None:
    silent = introduced(database)
    for age, listed in ((timedelta(seconds=30), True), (timedelta(minutes=61), False)):
        with database.write() as session:
            session.execute(update(Worker).where(Worker.id == silent.id).values(seen_at=utc_now() - age))
        other = introduced(database)
        states = {worker["id"]: worker["state"] for worker in client.get("/v1/workers").json()["items"]}
        assert states[other.id] == "alive"
        assert states.get(silent.id) == ("lost" if listed else None)


def test_unknown_worker_is_not_found(client: TestClient) -> None:
    for path in (f"/v1/workers/{new_id('wrk')}/drain", "/v1/workers/nobody/resume"):
        answer = client.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
