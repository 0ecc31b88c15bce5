"""An API process that dies in the middle of an upload keeps nobody's Idempotency-Key."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import func, select

from core.database import Database
from core.settings import BrokerSettings, DatabaseSettings
from models import IdempotencyKey, Job
from models import Image as ImageRow

pytestmark = pytest.mark.timeout(400)

_EDGE_PX = 9000
"""A picture that takes a second to check, in which the process can be hit."""


@pytest.fixture(scope="module")
def large_picture() -> bytes:
    """81 megapixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("L", (_EDGE_PX, _EDGE_PX)).save(file, "PNG", compress_level=1)
    return file.getvalue()


class _API:
    """A process of the API, and how to call it."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=environment | {"MISC_API_PORT": str(port)}, stdout=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        _wait(self._is_up)

    def send(self, picture: bytes) -> httpx.Response:
        """The upload with its key."""
        return httpx.post(
            f"{self._url}/v1/images",
            files={"file": ("a.png", picture)},
            headers={"Idempotency-Key": "one"},
            timeout=180,
        )

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self._url}/healthz", timeout=20).status_code == 200
        except httpx.TransportError:
            return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def open_api(
    database_settings: DatabaseSettings, broker_settings: BrokerSettings, tmp_path: Path
) -> Iterator[Callable[[], _API]]:
    """Starts one process after the other on the same database, store and queue."""
    started: list[_API] = []
    environment = os.environ | {
        "MISC_DATABASE_URL": database_settings.url,
        "MISC_BROKER_URL": broker_settings.url,
        "MISC_STORAGE_PATH": str(tmp_path / "objects"),
        "TMPDIR": str(tmp_path),
    }

    def _open() -> _API:
        started.append(_API(environment))
        return started[-1]

    yield _open
    for api in started:
        api.process.kill()
        api.process.wait()


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGTERM])
def test_key_of_an_upload_that_the_process_died_in_is_free_or_answered_in_seconds(
    open_api: Callable[[], _API], database: Database, large_picture: bytes, fatal: signal.Signals
) -> None:
    first = open_api()
    answers: list[httpx.Response] = []

    def _send() -> None:
        with contextlib.suppress(httpx.TransportError):
            answers.append(first.send(large_picture))

    sending = threading.Thread(target=_send)
    sending.start()
    _wait(lambda: _count(database, IdempotencyKey) == 1)
    first.process.send_signal(fatal)
    first.process.wait(timeout=60)
    died = time.monotonic()
    sending.join(timeout=60)

    second = open_api()
    while (answer := second.send(large_picture)).status_code == 409:
        assert fatal == signal.SIGKILL, "a planned stop answers or frees its keys"
        assert time.monotonic() - died < 100
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.status_code == 202, answer.text
    if answers:
        assert answers[0].json() == answer.json()
    assert (_count(database, ImageRow), _count(database, Job)) == (1, 1)


def _count(database: Database, table: type[IdempotencyKey] | type[ImageRow] | type[Job]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0
