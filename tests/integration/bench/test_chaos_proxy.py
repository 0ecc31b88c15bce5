"""The proxy that disturbs what passes through it: each harm does what it says, to an HTTP server on loopback."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import httpx
import pytest

from bench.chaos.proxy import Disturbance, Harm, Proxy, ProxyLoop

BODY = bytes(range(256)) * 8


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast(_Server, self.server).bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    """Notes every whole body that reached it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.bodies: list[bytes] = []

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that break: that is what they are here for."""


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(server: _Server) -> Iterator[Proxy]:
    loop = ProxyLoop()
    yield Proxy(loop, ("127.0.0.1", server.server_address[1]), seed=1)
    loop.close()


def _post(proxy: Proxy, timeout: float = 5) -> bytes:
    return httpx.post(f"http://127.0.0.1:{proxy.port}/", content=BODY, timeout=timeout).content


def _different_bits(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def test_undisturbed_everything_passes(proxy: Proxy) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}") as client:
        assert [client.post("/", content=BODY).content for _ in range(3)] == [BODY] * 3
    assert proxy.disturbed_exchanges == 0


def test_lost_answer_the_server_did_what_it_was_asked(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.LOSE_ANSWER))
    with pytest.raises(httpx.RemoteProtocolError):
        _post(proxy)
    assert server.bodies == [BODY]


def test_half_answer_breaks_off(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.HALF_ANSWER))
    with pytest.raises(httpx.RemoteProtocolError):
        _post(proxy)
    assert server.bodies == [BODY]


@pytest.mark.parametrize("harm", [Harm.CUT, Harm.REFUSE])
def test_broken_connection_the_server_got_nothing_whole(proxy: Proxy, server: _Server, harm: Harm) -> None:
    proxy.disturb(Disturbance(harm))
    with pytest.raises(httpx.TransportError):
        _post(proxy)
    assert BODY not in server.bodies


def test_refusing_breaks_connections_that_are_open(proxy: Proxy) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", transport=httpx.HTTPTransport(retries=0)) as client:
        client.post("/", content=BODY)
        proxy.disturb(Disturbance(Harm.REFUSE))
        with pytest.raises(httpx.TransportError):
            client.post("/", content=BODY)


def test_flipped_request_one_bit_of_the_body_arrives_the_other_way_round(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.FLIP_REQUEST))
    _post(proxy)
    assert _different_bits(server.bodies[0], BODY) == 1


def test_flipped_answer_one_bit_of_the_body_arrives_the_other_way_round(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.FLIP_ANSWER))
    assert _different_bits(_post(proxy), BODY) == 1
    assert server.bodies == [BODY]


def test_delayed_request_reaches_the_server_after_its_client_has_given_up(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.DELAY, seconds=1.0))
    with pytest.raises(httpx.ReadTimeout):
        _post(proxy, timeout=0.3)
    assert server.bodies == []
    deadline = time.monotonic() + 10
    while not server.bodies:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.bodies == [BODY]


def test_stalled_connection_is_silent_until_all_is_over(proxy: Proxy) -> None:
    proxy.disturb(Disturbance(Harm.STALL))
    with pytest.raises(httpx.ReadTimeout):
        _post(proxy, timeout=0.3)
    proxy.settle()
    assert _post(proxy) == BODY


def test_refused_upload_is_answered_as_by_a_full_disk_and_the_rest_passes(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.REFUSE_UPLOADS))
    assert httpx.put(f"http://127.0.0.1:{proxy.port}/", content=BODY).status_code == 507
    assert server.bodies == []
    assert _post(proxy) == BODY


def test_slow_line_takes_its_time(proxy: Proxy) -> None:
    proxy.disturb(Disturbance(Harm.SLOW, bytes_per_second=8192))
    started = time.monotonic()
    assert _post(proxy) == BODY
    assert time.monotonic() - started >= 2 * len(BODY) / 8192 * 0.9


def test_a_share_of_exchanges_is_hit_also_within_one_connection(proxy: Proxy, server: _Server) -> None:
    proxy.disturb(Disturbance(Harm.FLIP_REQUEST, share=0.5))
    with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}") as client:
        for _ in range(40):
            client.post("/", content=BODY)
    hit = sum(body != BODY for body in server.bodies)
    assert hit == proxy.disturbed_exchanges
    assert 10 <= hit <= 30
