"""A real HTTP server on loopback that serves files well or badly, and small published weights to fetch from it."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from codec.weights.manifest import Licence, Part, Released, URLSource

CONTENT = bytes(range(256)) * 1200
"""307,200 bytes: some twenty pieces of the wire."""

DIGEST = hashlib.sha256(CONTENT).hexdigest()

Behaviour = Callable[["Handler", int], None]
"""Answers one request; told how many came for this path before."""


class Handler(BaseHTTPRequestHandler):
    """Looks the path up among the server's behaviours."""

    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def do_GET(self) -> None:
        """Answer as the test says."""
        with self.server.lock:
            number = sum(1 for request in self.server.requests if request.path == self.path)
            self.server.requests.append(Request(self.path, dict(self.headers)))
        self.server.behaviours.get(self.path, missing)(self, number)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Headers and a body; `_` in a name stands for `-`."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def asked_from(self) -> int:
        """First byte of the range that was asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def hang_up(self) -> None:
        """Cut the line in the middle."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    headers: dict[str, str]


class FileServer(ThreadingHTTPServer):
    """Serves what tests put into `behaviours`, by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up in the middle are what some tests are about."""

    def url(self, path: str) -> str:
        """Address of a path."""
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, path: str, behaviour: Behaviour) -> str:
        """Answer `path` so; returns its address."""
        self.behaviours[path] = behaviour
        return self.url(path)


def missing(handler: Handler, _: int) -> None:
    """404."""
    handler.reply(404, b"nothing here")


def whole(content: bytes = CONTENT, **headers: str) -> Behaviour:
    """All of it each time; ranges are ignored."""
    return lambda handler, _: handler.reply(200, content, **headers)


def ranged(content: bytes = CONTENT, etag: str = '"one"') -> Behaviour:
    """Serves ranges, and starts over when If-Range names another file."""

    def answer(handler: Handler, _: int) -> None:
        begin = handler.asked_from()
        if begin and handler.headers.get("If-Range", etag) == etag:
            told = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            handler.reply(206, content[begin:], ETag=etag, Content_Range=told)
        else:
            handler.reply(200, content, ETag=etag)

    return answer


def dying(after: int, then: Behaviour, times: int = 1, content: bytes = CONTENT, etag: str = '"one"') -> Behaviour:
    """Promises all, sends `after` bytes and hangs up; from request number `times` on it is `then`."""

    def answer(handler: Handler, number: int) -> None:
        if number >= times:
            then(handler, number)
            return
        begin = handler.asked_from()
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.send_header("ETag", etag)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[begin : begin + after])
        handler.hang_up()

    return answer


def published(*urls: str, name: str = "some-net", **fields: object) -> Released:
    """Published weights with these sources; pinned unless told otherwise."""
    known: dict[str, object] = {"bytes": len(CONTENT), "sha256": DIGEST}
    return Released(
        name=name, part=Part.COARSE, architecture="cheng2020-attn", file_name=f"{name}.pth.tar",
        licence=Licence("MIT", "https://example.org/licence"), sources=tuple(URLSource(url) for url in urls),
        **(known | fields),
    )  # type: ignore[arg-type]  # fmt: skip
