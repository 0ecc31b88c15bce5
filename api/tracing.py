"""One span for each request, from its first byte to the last of the answer, below that of a caller who traces too."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.tracing import SpanKind, span


class TracingMiddleware:
    """Traces requests, where a collector is set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on within its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
        method, path = scope["method"], scope["path"]
        with span(method, SpanKind.SERVER, parent, http__request__method=method, url__path=path) as request:

            async def _send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    request.note(http__response__status_code=status)
                    if status >= 500:
                        request.note_failure(str(status))
                await send(message)

            await self._app(scope, receive, _send)
            if (route := getattr(scope.get("route"), "path", None)) is not None:
                request.rename(f"{method} {route}")
                request.note(http__route=route, misc__request_id=scope.get("misc.request_id"))
