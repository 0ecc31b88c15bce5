"""Flower and its like see what workers do with their messages, where that is set."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.broker import MAINTENANCE, Broker, make_celery
from core.database import Database
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.settings import BrokerSettings, DatabaseSettings
from migrations.upgrade import upgrade
from models.job import JobKind

_SECONDS = 90.0

_EXPECTED = {"worker-heartbeat", "task-sent", "task-received", "task-started", "task-succeeded"}


class Watcher:
    """What Flower does: reads all events that pass by Redis."""

    def __init__(self, settings: BrokerSettings) -> None:
        self.events: list[dict[str, Any]] = []
        self._app = make_celery(settings)
        self._connection = self._app.connection_for_read()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self.events.append})
        self._thread = threading.Thread(target=self._receiver.capture, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.close()

    def has_seen(self, kinds: set[str]) -> bool:
        return kinds <= {event["type"] for event in self.events}


@pytest.fixture
def worker(tmp_path: Path, broker_settings: BrokerSettings) -> Iterator[Database]:
    """A worker process that tells of its messages; gives the database that it works with."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    environment = os.environ | {
        "MISC_DATABASE_URL": settings.url,
        "MISC_BROKER_URL": broker_settings.url,
        "MISC_STORAGE_PATH": str(tmp_path / "objects"),
        "MISC_BROKER_TASK_EVENTS": "true",
    }
    process = subprocess.Popen([sys.executable, "-m", "workers", MAINTENANCE], env=environment)
    database = Database(settings)
    yield database
    database.close()
    process.terminate()
    process.wait(60)


@pytest.mark.timeout(150)
def test_events_of_workers_and_messages_reach_who_watches(broker_settings: BrokerSettings, worker: Database) -> None:
    settings = broker_settings.model_copy(update={"task_events": True})
    watcher, broker = Watcher(settings), Broker(settings)
    deadline = time.monotonic() + _SECONDS
    while not watcher.has_seen({"worker-heartbeat"}) and time.monotonic() < deadline:
        time.sleep(0.1)
    with worker.write() as session:
        job_id = transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE))
    broker.notify([job_id], MAINTENANCE)
    while not watcher.has_seen(_EXPECTED) and time.monotonic() < deadline:
        time.sleep(0.1)
    broker.close()
    watcher.close()
    seen = {event["type"] for event in watcher.events}
    assert seen >= _EXPECTED, seen
    assert any(job_id in str(event.get("args")) for event in watcher.events if event["type"] == "task-received")
