"""Callers that send heads without end, or nothing at all, cost the API nothing that others need."""

import resource
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from api.connections import ConnectionLimits, bounded_protocol

_LIMITS = ConnectionLimits(
    head_seconds=0.6, body_idle_seconds=0.6, body_grace_seconds=1.0, body_bytes_per_second=1000, watch_seconds=0.1
)
_CONNECTIONS = 40


async def _count_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how long the body was."""
    if scope["type"] == "http":
        size = len(await Request(scope, receive).body())
        await JSONResponse({"bytes": size})(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a server with short limits listens."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    protocol = bounded_protocol(_CONNECTIONS, _LIMITS)
    server = uvicorn.Server(uvicorn.Config(_count_bytes, log_config=None, http=protocol, ws="none", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _read_to_end(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def _send_without_end(connection: socket.socket, piece: bytes, most_bytes: int) -> int:
    """Send until the server has had enough; returns how much it took."""
    sent = 0
    try:
        while sent < most_bytes:
            sent += connection.send(piece)
    except OSError:
        pass
    return sent


def test_one_header_without_end_is_refused_after_64_kilobytes(port: int) -> None:
    connection = _connect(port)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ")
    started = time.process_time()
    sent = _send_without_end(connection, b"a" * 65536, 100 << 20)
    assert sent < 16 << 20, "sockets' own buffers, not the server's memory"
    assert time.process_time() - started < 2
    assert httpx.get(f"http://127.0.0.1:{port}/").json() == {"bytes": 0}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 66000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 66000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"no request at all\r\n\r\n", b"400"),
    ],
)
def test_head_beyond_the_limits_gets_a_problem_document(port: int, head: bytes, status: bytes) -> None:
    connection = _connect(port)
    connection.sendall(head)
    response = _read_to_end(connection)
    assert response.startswith(b"HTTP/1.1 " + status)
    assert b"application/problem+json" in response and b'"code"' in response


def test_head_within_the_limits_is_taken(port: int) -> None:
    headers = {f"X-{number}": "a" * 600 for number in range(90)}
    assert httpx.get(f"http://127.0.0.1:{port}/", headers=headers).status_code == 200


@pytest.mark.parametrize("beginning", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_head_that_never_ends_is_given_up(port: int, beginning: bytes) -> None:
    connection = _connect(port)
    started = time.monotonic()
    connection.sendall(beginning)
    response = _read_to_end(connection)
    assert response.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 3


def test_dripping_head_is_given_up_all_the_same(port: int) -> None:
    connection = _connect(port)
    connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    started = time.monotonic()
    for _ in range(40):
        try:
            connection.send(b"a")
        except OSError:
            break
        time.sleep(0.1)
    assert time.monotonic() - started < 3


def test_second_request_of_a_connection_has_its_own_time(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(4):
            assert client.get("/").status_code == 200
            time.sleep(0.3)


def test_body_that_stops_is_given_up(port: int) -> None:
    connection = _connect(port)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
    assert _read_to_end(connection).startswith(b"HTTP/1.1 408")


def test_body_slower_than_the_least_pace_is_given_up(port: int) -> None:
    connection = _connect(port)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    started = time.monotonic()
    while time.monotonic() - started < 6:
        try:
            connection.send(b"a" * 20)
        except OSError:
            break
        time.sleep(0.1)
    assert 0.9 < time.monotonic() - started < 4


def test_slow_body_at_the_least_pace_is_taken(port: int) -> None:
    def _pieces() -> Iterator[bytes]:
        for _ in range(12):
            yield b"a" * 400
            time.sleep(0.2)

    assert httpx.post(f"http://127.0.0.1:{port}/", content=_pieces()).json() == {"bytes": 4800}


def test_idle_connections_give_way_to_new_requests(port: int) -> None:
    idle = [_connect(port) for _ in range(3 * _CONNECTIONS)]
    started = time.monotonic()
    for _ in range(20):
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    assert time.monotonic() - started < 3
    for connection in idle:
        connection.close()
