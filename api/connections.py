"""HTTP connections with limits: the size and time of a request's head, the pace of its body, the number of connections.

uvicorn bounds none of these: a head of 100 MB is put together piece by piece on the event loop, and a connection that
never says anything is kept for ever.
"""

import asyncio
import resource
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import problem
from core.logging import get_logger

_log = get_logger(__name__)

_RESERVED_DESCRIPTORS = 256
"""Files, database, Redis and storage need descriptors beside the connections."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may cost before an endpoint sees it."""

    head_bytes: int = 64 * 1024
    """Request line and headers together."""
    head_count: int = 100
    """Headers of a request."""
    head_seconds: float = 10.0
    """From the first byte of a request, or from the connection, to the end of its headers."""
    body_idle_seconds: float = 30.0
    """Longest silence within a body that the endpoint is waiting for."""
    body_grace_seconds: float = 60.0
    """After this time of waiting a body has to have kept the least pace."""
    body_bytes_per_second: int = 1024
    """Least pace: a picture of 1 MB comes over any line that is one in 17 minutes."""
    watch_seconds: float = 5.0
    """How often the pace of a body is looked at."""


class ConnectionTable:
    """All connections of a server. A new one takes the place of the one that has waited longest for a request."""

    def __init__(self, max_connections: int) -> None:
        self._limit = max_connections
        self._open: set[BoundedHTTPProtocol] = set()
        self._waiting: dict[BoundedHTTPProtocol, None] = {}

    def add(self, connection: "BoundedHTTPProtocol") -> bool:
        """Take the connection in; False when all others have requests under way."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        self._waiting[connection] = None
        return True

    def note_request(self, connection: "BoundedHTTPProtocol") -> None:
        """The connection has a request under way and cannot be given up."""
        self._waiting.pop(connection, None)

    def note_idle(self, connection: "BoundedHTTPProtocol") -> None:
        """The connection waits for its next request."""
        if connection in self._open:
            self._waiting[connection] = None

    def remove(self, connection: "BoundedHTTPProtocol") -> None:
        """The connection is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class BoundedHTTPProtocol(HttpToolsProtocol):
    """One connection. `limits` and `table` are set by `bounded_protocol`."""

    limits: ConnectionLimits
    table: ConnectionTable

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._is_in_head = True
        self._head_bytes = self._header_bytes = 0
        self._refusal: tuple[HTTPStatus, str, str] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._body_wait_seconds = 0.0
        self._last_look = self._last_byte = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, or refuse the connection where there is no room."""
        super().connection_made(transport)
        if self.table.add(self):
            self._await_head()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "All connections are busy. Try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self.table.remove(self)
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as the head stays within its limit."""
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        super().data_received(data)
        if self._is_in_head and self._head_bytes > self.limits.head_bytes:
            self._refuse(*self._head_refusal())

    def on_message_begin(self) -> None:
        """A request begins."""
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        super().on_url(url)
        if len(self.url) > self.limits.head_bytes:
            self._refusal = (HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", "The address is too long.")
            raise httptools.HttpParserError("address too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One complete header."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self.limits.head_bytes or len(self.headers) > self.limits.head_count:
            self._refusal = self._head_refusal()
            raise httptools.HttpParserError("head too large")

    def on_headers_complete(self) -> None:
        """The request is handed to the application, and its body watched."""
        self._is_in_head, self._head_bytes = False, 0
        self._cancel_head_timer()
        self.table.note_request(self)
        self._body_bytes, self._body_wait_seconds = 0, 0.0
        self._last_look = self._last_byte = time.monotonic()
        self._body_timer = self.loop.call_later(self.limits.watch_seconds, self._look_at_body)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        self._last_byte = time.monotonic()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_in_head = True
        self._cancel_body_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The connection waits for its next request, or goes on with one that is there already."""
        if not self.pipeline and self._is_in_head:
            self.table.note_idle(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what a limit stopped."""
        status, code, detail = self._refusal or (HTTPStatus.BAD_REQUEST, "request_invalid", "This is no HTTP request.")
        self._refuse(status, code, detail)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._end_slow_head)

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if self._is_in_head and (self.cycle is None or self.cycle.response_complete):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The headers took too long to arrive.")

    def _look_at_body(self) -> None:
        """End the request when the application waits for a body that does not come, or hardly."""
        now = time.monotonic()
        if self.flow.read_paused or self.cycle.response_started:
            # The application is at work, or has answered already; silence meanwhile is not the caller's.
            self._last_byte = now
        else:
            self._body_wait_seconds += now - self._last_look
            is_slow = self._body_bytes < self._body_wait_seconds * self.limits.body_bytes_per_second
            if now - self._last_byte > self.limits.body_idle_seconds or (
                is_slow and self._body_wait_seconds > self.limits.body_grace_seconds
            ):
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The body took too long to arrive.")
                return
        self._last_look = now
        self._body_timer = self.loop.call_later(self.limits.watch_seconds, self._look_at_body)

    def _head_refusal(self) -> tuple[HTTPStatus, str, str]:
        detail = f"The headers are more than {self.limits.head_count}, or larger than {self.limits.head_bytes} bytes."
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer with a problem document where no other answer has begun, and close."""
        if self.transport.is_closing():
            return
        self._stop_timers()
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not is_answered:
            _log.info("request_refused", status=int(status), code=code)
            self.transport.write(_raw_problem(status, code, detail))
        self.transport.close()

    def _stop_timers(self) -> None:
        self._cancel_head_timer()
        self._cancel_body_timer()

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None


def bounded_protocol(max_connections: int, limits: ConnectionLimits | None = None) -> type[BoundedHTTPProtocol]:
    """A protocol class for one server, whose connections share a table; takes as many descriptors as it may."""
    room = _allow_descriptors(max_connections + _RESERVED_DESCRIPTORS) - _RESERVED_DESCRIPTORS
    if room < max_connections:
        _log.warning("fewer_connections", wanted=max_connections, taken=room, reason="limit of open files")
    table = ConnectionTable(max(16, min(max_connections, room)))
    return type("_Protocol", (BoundedHTTPProtocol,), {"limits": limits or ConnectionLimits(), "table": table})


def _allow_descriptors(wanted: int) -> int:
    """Raise this process's limit of open files to what is wanted, if it may; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def _raw_problem(status: HTTPStatus, code: str, detail: str) -> bytes:
    response = problem({"type": "http", "path": ""}, status, code, detail)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), b"connection: close"]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(b"retry-after: 5")
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)
