"""What the client does with the answers of a server: tries again where that is safe, and tells errors in sentences."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.server import client as client_module
from cli.server.client import Client, ClientError, ServerUnreachable, Upload
from cli.server.push_history import PushHistory


@dataclass
class _Answer:
    status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False


@dataclass
class _Server:
    """A server that gives prepared answers in their order, and keeps what it was asked."""

    address: str
    answers: list[_Answer] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def will_answer(self, status: int, body: object, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(_Answer(status, body, named))

    def will_refuse(self, status: int, code: str, **headers: str) -> None:
        problem = {"code": code, "detail": f"This was refused for {code}.", "status": status}
        self.will_answer(status, problem, content_type="application/problem+json", **headers)


@pytest.fixture
def server() -> Iterator[_Server]:
    class _Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            script.asked.append((self.command, self.path, dict(self.headers), body))
            answer = script.answers.pop(0)
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in ({"content-type": "application/json"} | answer.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            # A cut answer announces more than it sends, as a server that dies in the middle does.
            self.wfile.write(data[: len(data) // 2] if answer.is_cut else data)
            self.close_connection = answer.is_cut

        do_GET = do_POST = _handle  # noqa: N815 - the names that the base class calls

    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    script = _Server(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield script
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def client(server: _Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(client_module, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(client_module, "_LAST_WAIT_SECONDS", 0.05)
    with Client(server.address, "some-key") as client:
        yield client


@pytest.fixture
def picture(tmp_path: Path) -> Upload:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"the picture's bytes")
    return Upload(path, "a.jpg", "push-1")


def test_upload_that_meets_a_busy_server_is_sent_again_whole_with_the_same_key(
    server: _Server, client: Client, picture: Upload
) -> None:
    server.will_refuse(503, "database_unavailable", retry_after="1")
    server.will_refuse(409, "idempotency_in_flight")
    server.will_answer(202, {"image": {"id": "img_1"}, "job": {"id": "job_1"}}, idempotency_replayed="true")

    answer = client.submit_picture(picture, {"maps": False})

    assert answer["image"] == {"id": "img_1"}
    assert answer["replayed"] is True
    assert len(server.asked) == 3
    assert {headers["Idempotency-Key"] for _, _, headers, _ in server.asked} == {"push-1"}
    assert {headers["Authorization"] for _, _, headers, _ in server.asked} == {"Bearer some-key"}
    assert all(b"the picture's bytes" in body and b'{"maps": false}' in body for _, _, _, body in server.asked)


def test_refusal_is_told_at_once_with_the_servers_code_and_sentence(
    server: _Server, client: Client, picture: Upload
) -> None:
    server.will_refuse(422, "picture_truncated")

    with pytest.raises(ClientError, match=r"This was refused for picture_truncated\.") as caught:
        client.submit_picture(picture, {})

    assert (caught.value.code, caught.value.status) == ("picture_truncated", 422)
    assert len(server.asked) == 1


def test_server_that_stays_busy_is_given_up_on(server: _Server, client: Client) -> None:
    for _ in range(5):
        server.will_refuse(503, "storage_unavailable")

    with pytest.raises(ClientError) as caught:
        client.image("img_1")

    assert caught.value.code == "storage_unavailable"
    assert len(server.asked) == 5


def test_answer_of_something_else_is_not_taken_for_ours(server: _Server, client: Client) -> None:
    server.will_answer(404, b"<h1>Welcome to nginx</h1>", content_type="text/html")

    with pytest.raises(ClientError, match=r"Welcome to nginx.*Is that address a misc server") as caught:
        client.image("img_1")

    assert caught.value.code == "http_404"


def test_list_is_followed_over_its_pages(server: _Server, client: Client) -> None:
    server.will_answer(200, {"items": [{"id": "c"}, {"id": "b"}], "next_cursor": "b"})
    server.will_answer(200, {"items": [{"id": "a"}], "next_cursor": None})

    found = [image["id"] for image in client.images(state="ready")]

    assert found == ["c", "b", "a"]
    assert [path for _, path, _, _ in server.asked] == [
        "/v1/images?limit=200&state=ready",
        "/v1/images?limit=200&cursor=b&state=ready",
    ]


def test_job_is_followed_to_its_end(server: _Server, client: Client) -> None:
    for state in ("queued", "running", "failed"):
        server.will_answer(200, {"id": "job_1", "state": state})
    seen: list[str] = []

    job = client.wait_for_job("job_1", on_change=lambda job: seen.append(job["state"]))

    assert job["state"] == "failed"
    assert seen == ["queued", "running", "failed"]


def test_waiting_has_an_end(server: _Server, client: Client) -> None:
    for _ in range(3):
        server.will_answer(200, {"id": "job_1", "state": "queued"})

    with pytest.raises(ClientError) as caught:
        client.wait_for_job("job_1", timeout_seconds=0.06)

    assert caught.value.code == "wait_timeout"


def test_download_that_breaks_off_is_fetched_again_and_leaves_no_half_file(
    server: _Server, client: Client, tmp_path: Path
) -> None:
    server.answers = [_Answer(200, b"x" * 1000, is_cut=True), _Answer(200, b"x" * 1000)]

    size = client.download("/v1/images/img_1/bitstream", tmp_path / "deep" / "a.misc")

    assert size == 1000
    assert (tmp_path / "deep" / "a.misc").read_bytes() == b"x" * 1000
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.misc"]


def test_refused_download_leaves_the_old_file(server: _Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.misc").write_bytes(b"old")
    server.will_refuse(409, "not_ready")

    with pytest.raises(ClientError, match="not_ready"):
        client.download("/v1/images/img_1/bitstream", tmp_path / "a.misc")

    assert (tmp_path / "a.misc").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.misc"]


def test_nobody_at_the_address_is_told_with_the_address(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_WAIT_SECONDS", 0.01)
    with Client(f"http://127.0.0.1:{unused_port}") as client, pytest.raises(ServerUnreachable) as caught:
        client.image("img_1")

    assert f"http://127.0.0.1:{unused_port}" in str(caught.value)
    assert "misc up" in str(caught.value)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x", "8000"])
def test_address_without_http_is_wrong(address: str) -> None:
    with pytest.raises(ClientError) as caught:
        Client(address)

    assert caught.value.code == "server_invalid"


def test_server_and_key_come_from_the_environment(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_SERVER", f"{server.address}/")
    monkeypatch.setenv("MISC_API_KEY", "from-outside")
    server.will_answer(200, {"id": "img_1"})

    with Client() as client:
        assert client.image("img_1") == {"id": "img_1"}

    assert server.asked[0][1] == "/v1/images/img_1"
    assert server.asked[0][2]["Authorization"] == "Bearer from-outside"


def test_what_was_pushed_is_remembered_by_server(tmp_path: Path) -> None:
    path = tmp_path / "state" / "pushed.txt"
    memory = PushHistory(path)
    memory.remember("http://one", "push-1", "img_1")
    memory.remember("http://one", "push-1", "img_2")
    path.write_text(path.read_text() + "a line that a crash has cut o")

    again = PushHistory(path)

    assert again.find("http://one", "push-1") == "img_2"
    assert again.find("http://two", "push-1") is None


def test_memory_may_be_written_from_many_threads(tmp_path: Path) -> None:
    memory = PushHistory(tmp_path / "pushed.txt")

    def _remember(thread: int) -> Callable[[], None]:
        return lambda: [memory.remember("s", f"{thread}-{number}", f"img_{number}") for number in range(50)] and None

    threads = [threading.Thread(target=_remember(thread)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    again = PushHistory(tmp_path / "pushed.txt")
    assert all(again.find("s", f"{thread}-{number}") == f"img_{number}" for thread in range(4) for number in range(50))
