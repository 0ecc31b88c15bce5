"""Proxies of the environment are for the world outside: no client asks one for a server on this machine."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from cli.server.client import Client, ClientError
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.errors import DescriberMisconfigured
from codec.language_model import LMMServer
from codec.loopback import is_loopback
from codec.weights.download import Downloader, Expected
from core.settings import StorageBackend, StorageSettings
from core.storage.s3 import S3Storage
from deploy.healthcheck import api_answers
from tests.lmm_server.limiter import RecordingLimiter
from tests.lmm_server.memory import MemoryCache
from tests.lmm_server.server import LMMTestServer

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def here() -> Iterator[str]:
    """The address of a server on this machine that answers everything with 200."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["http://127.0.0.1:9", "socks5://127.0.0.1:9", "foo://127.0.0.1:9"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A proxy in the environment that nobody can use."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in _NAMES:
        monkeypatch.setenv(name, request.param)
    return str(request.param)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://localhost:8000", True),
        ("http://LOCALHOST.", True),
        ("https://api.localhost/x", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:9", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://0.0.0.0:8000", True),
        ("http://localhost.example.org", False),
        ("http://192.168.0.1", False),
        ("http://archive/localhost", False),
        ("http://localhost@example.org", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_loopback_is_known_by_every_name(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_command_reaches_a_server_here_past_the_proxy(proxy: str, here: str) -> None:
    with Client(here) as client:
        assert client.why_not_ready() is None


def test_language_model_here_is_reached_past_the_proxy(proxy: str) -> None:
    with LMMTestServer() as server:
        settings = LMMServer(base_url=server.base_url, attempts=1)
        describer = OpenAIDescriber(settings, MemoryCache(), RecordingLimiter())
        assert describer.describe(Image.new("RGB", (40, 40)), lambda: False).description.overall
        describer.close()


def test_store_here_is_reached_past_the_proxy(proxy: str, here: str) -> None:
    settings = StorageSettings(
        backend=StorageBackend.S3,
        endpoint_url=here,
        access_key="a",
        secret_key="b",  # type: ignore[arg-type]
    )
    storage = S3Storage(settings)
    storage._check_client.head_bucket(Bucket="misc")
    storage.close()


def test_health_check_of_the_container_asks_no_proxy(proxy: str, here: str) -> None:
    assert api_answers(int(here.rpartition(":")[2]))


def test_weights_of_a_mirror_here_are_fetched_past_the_proxy(
    here: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in _NAMES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Downloader(tries=1) as downloader:
        assert downloader.fetch(f"{here}/x", tmp_path / "part", Expected()) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9", "foo://127.0.0.1:9"])
def test_proxy_that_cannot_be_used_is_told_where_one_is_needed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ClientError, match="ALL_PROXY"):
        Client("http://archive.example")
    describer = OpenAIDescriber(
        LMMServer(base_url="http://model.example/v1", attempts=1), MemoryCache(), RecordingLimiter()
    )
    with pytest.raises(DescriberMisconfigured, match="ALL_PROXY"):
        describer.describe(Image.new("RGB", (40, 40)), lambda: False)


@pytest.mark.parametrize(
    "address",
    ["archive:8000", "ftp://host", "http://", "http://host:port", "http://host?x=1", "http://host/#x", "http://[::1"],
)
def test_address_that_is_none_of_a_server_is_refused(address: str) -> None:
    with pytest.raises(ClientError) as caught:
        Client(address)
    assert caught.value.code == "server_invalid"
