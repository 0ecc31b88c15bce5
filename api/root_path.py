"""Serving below a path, as https://host/misc, behind a proxy that takes the path off or leaves it on."""

from contextvars import ContextVar

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_ROOT = ContextVar("misc_root_path", default="")


def address(path: str) -> str:
    """The path of something of ours as callers have to write it."""
    return _ROOT.get() + path


class RootPathMiddleware:
    """Takes the path off requests that still have it, so that nothing behind has to know of it but `address`."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """`root_path` begins with a slash and does not end with one, or is empty."""
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the path that it would have at the root of a host."""
        if not self._root or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == self._root:
            # The page's own addresses are relative, and need the slash.
            await RedirectResponse(f"{self._root}/", 308)(scope, receive, send)
            return
        if path.startswith(f"{self._root}/"):
            raw: bytes = scope.get("raw_path") or path.encode()
            scope = {**scope, "path": path[len(self._root) :], "raw_path": raw[len(self._root) :]}
        _ROOT.set(self._root)
        await self._app(scope, receive, send)
