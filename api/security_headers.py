"""What every answer tells a browser: to take nothing for a page, to show it in no other page, to keep no JSON."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    # Bytes that somebody uploaded must never be taken for a page.
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Where an answer has one of its own, as the pages have, that holds."""


def secure(headers: MutableHeaders) -> None:
    """Add what an answer does not say itself. JSON says how things stand for one caller: no cache keeps it."""
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    if "json" in headers.get("content-type", ""):
        headers.setdefault("Cache-Control", "no-store")


class SecurityHeadersMiddleware:
    """Secures what goes out, whoever answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with the headers."""

        async def _send(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, _send)
