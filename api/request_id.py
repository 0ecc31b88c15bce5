"""Names every request: takes `X-Request-ID` or makes one, binds it to the log, hands it out, and logs the answer."""

import re
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.logging import get_logger
from models.base import new_id

_log = get_logger(__name__)

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""What may go into log lines and a column as it is; anything else is replaced."""

_QUIET = ("/healthz", "/readyz", "/metrics")
"""Machines request them every few seconds; not worth a log line each."""


class RequestIdMiddleware:
    """The outermost of our layers, so that every answer carries the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = next(
            (
                value.decode()
                for name, value in scope["headers"]
                if name == b"x-request-id" and _ACCEPTED.fullmatch(value)
            ),
            None,
        ) or new_id("req")
        scope["misc.request_id"] = request_id
        # Not unbound at the end: a request has a context of its own, and the server logs a defect after us.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def _send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, _send)
        finally:
            if scope["path"] not in _QUIET:
                _log.info(
                    "request_answered",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.perf_counter() - started, 4),
                )
