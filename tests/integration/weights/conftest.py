"""What the tests of weights share: a server of files, an impatient downloader, an empty store."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer

from codec.weights.download import Downloader
from codec.weights.store import WeightsStore


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server on a free port of loopback."""
    with FileServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def waits() -> list[float]:
    """The waits that the downloader would have slept."""
    return []


@pytest.fixture
def downloader(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Downloader]:
    """Sleeps never; no proxy of the machine comes between."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Downloader(timeout_seconds=5, wait=waits.append) as downloader:
        yield downloader


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    """An empty store that knows no published weights, and none that come with the program."""
    return WeightsStore(tmp_path / "weights", released=(), shipped=None)
