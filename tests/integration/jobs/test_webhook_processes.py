"""Maintenance workers of their own, as a deployment has them, share the sending of webhooks; on both databases."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.broker import ENCODE, MAINTENANCE
from core.database import Database
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.settings import BrokerSettings, DatabaseSettings
from core.webhooks import hooks
from models.job import JobKind
from models.webhook_message import MessageState, WebhookMessage
from tests.webhook_receiver import WebhookReceiver, webhook_receiver

standardwebhooks = pytest.importorskip("standardwebhooks")

_WORKERS, _JOBS = 2, 40


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def logs(tmp_path: Path, database_settings: DatabaseSettings, broker_settings: BrokerSettings) -> Iterator[list[Path]]:
    """Two maintenance workers; gives their logs."""
    environment = os.environ | {
        "MISC_DATABASE_URL": database_settings.url,
        "MISC_BROKER_URL": broker_settings.url,
        "MISC_STORAGE_PATH": str(tmp_path / "objects"),
        "MISC_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
        "MISC_LOG_FORMAT": "json",
    }
    logs = [tmp_path / f"worker-{number}.log" for number in range(_WORKERS)]
    command = [sys.executable, "-m", "workers", MAINTENANCE]
    processes = []
    for log in logs:
        with log.open("wb") as file:
            processes.append(subprocess.Popen(command, env=environment, stderr=file))
    deadline = time.monotonic() + 90
    while not all("worker_ready" in log.read_text() for log in logs):
        assert time.monotonic() < deadline, [log.read_text()[-2000:] for log in logs]
        time.sleep(0.1)
    yield logs
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


def _delivered(database: Database) -> int:
    is_delivered = WebhookMessage.state == MessageState.DELIVERED
    with database.read() as session:
        return session.scalar(select(func.count()).where(is_delivered)) or 0


@pytest.mark.timeout(240)
def test_two_workers_deliver_each_message_once_and_signed(
    database: Database, receiver: WebhookReceiver, logs: list[Path]
) -> None:
    with database.write() as session:
        hook = hooks.register(session, receiver.url, "alice", None, {"127.0.0.1"})
        secret = hook.secret
        ids = [transitions.create(session, JobSpec(JobKind.ENCODE, ENCODE, owner="alice")) for _ in range(_JOBS)]
    for job_id in ids:
        with database.write() as session:
            transitions.cancel(session, job_id)
    deadline = time.monotonic() + 90
    while _delivered(database) < _JOBS:
        assert time.monotonic() < deadline, _delivered(database)
        time.sleep(0.1)
    told = [standardwebhooks.Webhook(secret).verify(one.body, one.headers) for one in receiver.received]
    assert sorted(one["data"]["id"] for one in told) == sorted(ids)
    assert {one["type"] for one in told} == {"job.cancelled"}
    assert sum(log.read_text().count("webhook_sent") for log in logs) == _JOBS
