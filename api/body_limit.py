"""Refuses bodies that are too large: at once by what they announce, else at the byte that is one too many."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem_of
from codec.limits import MAX_REFERENCE_BYTES, MAX_STREAM_BYTES
from core.errors import RequestInvalid, UploadTooLarge
from core.settings import APISettings

_JSON_BYTES = 256 * 1024
"""Options with three details and an overall text of any script stay far below."""

_FORM_BYTES = 64 * 1024
"""Room for what a form needs around its files."""


class BodyLimitMiddleware:
    """Counts the bytes of every body, whether it announces its length or comes in chunks."""

    def __init__(self, app: ASGIApp, settings: APISettings) -> None:
        self._app = app
        self._limits = {
            "/v1/images": settings.max_upload_bytes,
            "/v1/batches": settings.max_batch_bytes,
            "/v1/bitstreams": MAX_STREAM_BYTES + MAX_REFERENCE_BYTES + _FORM_BYTES,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that ends the request when it grows too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], _JSON_BYTES)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if announced is not None:
            if not announced.isdigit():
                await problem_of(scope, RequestInvalid("Content-Length is no number."))(scope, receive, send)
                return
            if int(announced) > limit:
                await problem_of(scope, _too_large(limit))(scope, receive, send)
                return
        counted = _CountedBody(receive, send, limit)
        try:
            await self._app(scope, counted.receive, counted.send)
        except UploadTooLarge:
            if not counted.is_exceeded:
                raise
        if counted.is_exceeded and not counted.is_answered:
            await problem_of(scope, _too_large(limit))(scope, receive, send)


class _CountedBody:
    """One request's channels. After the limit nothing that the endpoint answers gets out."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send = receive, send
        self._limit, self._seen = limit, 0
        self.is_exceeded = self.is_answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                self.is_exceeded = True
                raise _too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.is_exceeded:
            self.is_answered = True
        if self.is_answered:
            await self._send(message)


def _too_large(limit: int) -> UploadTooLarge:
    return UploadTooLarge(f"The body is larger than the {limit} bytes that are taken here.")
