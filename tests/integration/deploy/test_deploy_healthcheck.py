"""The health check inside the containers, against real sockets."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "healthcheck.py"


def health(kind: str, **environment: str) -> tuple[int, str]:
    """Exit status and stderr, as a container engine runs it: no packages, only the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, kind],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.returncode, done.stderr


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" and self.server.is_well else 503)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Answer)
    server.is_well = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_api_is_healthy_while_it_answers(api: http.server.HTTPServer) -> None:
    port = str(api.server_address[1])
    assert health("api", MISC_API_PORT=port) == (0, "")
    api.is_well = False  # type: ignore[attr-defined]
    status, reason = health("api", MISC_API_PORT=port)
    assert status == 1 and "503" in reason


def test_api_that_is_not_there_is_unhealthy() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        status, reason = health("api", MISC_API_PORT=str(unused.getsockname()[1]))
    assert status == 1 and "refused" in reason


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_worker_is_healthy_while_it_is_connected_to_the_broker(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as broker:
        try:
            broker.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        broker.listen()
        port = broker.getsockname()[1]
        url = f"redis://:secret@{f'[{host}]' if family is socket.AF_INET6 else host}:{port}/0"
        status, reason = health("worker", MISC_BROKER_URL=url)
        assert status == 1 and "not connected" in reason
        with socket.create_connection((host, port)) as connection:
            assert health("worker", MISC_BROKER_URL=url) == (0, "")
            accepted, _ = broker.accept()
            accepted.close()
            connection.close()
        status, reason = health("worker", MISC_BROKER_URL=url)
        assert status == 1 and "secret" not in reason


def test_worker_without_an_address_of_a_broker_is_unhealthy() -> None:
    status, reason = health("worker")
    assert status == 1 and "MISC_BROKER_URL" in reason
