"""Foreign metrics never reach the network."""

import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("torch")

from codec.metrics.toolbox import DownloadRefused, _created, toolbox_metrics, without_network


@pytest.fixture
def listening_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_connections_are_refused_inside_the_wall_in_this_thread_only(listening_port: int) -> None:
    outcomes: list[str] = []
    with without_network():
        with pytest.raises(DownloadRefused):
            socket.create_connection(("127.0.0.1", listening_port), timeout=5)

        def other() -> None:
            socket.create_connection(("127.0.0.1", listening_port), timeout=5).close()
            outcomes.append("connected")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    socket.create_connection(("127.0.0.1", listening_port), timeout=5).close()
    assert outcomes == ["connected"]


def test_metric_that_wants_to_download_is_left_out_with_that_reason(listening_port: int) -> None:
    def create(name: str, device: str) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{listening_port}/{name}", timeout=5)

    reason = _created(create, "lpips")
    assert isinstance(reason, str)
    assert "nothing is downloaded" in reason


def test_metric_that_fails_otherwise_is_left_out_with_its_error() -> None:
    def create(name: str, device: str) -> None:
        raise KeyError(name)

    assert "KeyError" in str(_created(create, "dists"))


def test_without_the_toolbox_its_metrics_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    metrics, sets, left_out = toolbox_metrics()
    assert (metrics, sets) == ([], [])
    assert left_out == dict.fromkeys(("lpips", "dists", "clipiqa", "fid"), "pyiqa is not installed")
