"""The API on a real socket, with a real Redis, on both databases."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn

from api.app import create_app
from api.services import Services
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings


@dataclass(frozen=True)
class Running:
    """A server in this process, its services and a client of it."""

    server: uvicorn.Server
    services: Services
    client: httpx.Client


@pytest.fixture
def running(database_settings: DatabaseSettings, broker_settings: BrokerSettings, tmp_path: Path) -> Iterator[Running]:
    """A server that is stopped at the end of the test."""
    services = Services.open(
        APISettings(events_poll=timedelta(seconds=0.3)),
        database_settings,
        broker_settings,
        StorageSettings(path=tmp_path / "objects"),
        WorkerSettings(),
        is_stopping=lambda: server.should_exit,
    )
    server = uvicorn.Server(uvicorn.Config(create_app(services), log_config=None, timeout_graceful_shutdown=5))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline and thread.is_alive()
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
        yield Running(server, services, client)
    server.should_exit = True
    thread.join(timeout=15)
    assert not thread.is_alive()
