"""Who did what: a log line for each call that changes something, or tried to. Never keys, bodies or names of files."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import digest_in
from core.logging import get_logger
from core.owners.caller import Caller

_log = get_logger(__name__)

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_KEY_CHARS = 16
"""So much of a key's digest tells keys apart, and is no secret."""

_OBJECT = re.compile(r"[a-z]{3,5}_[0-9a-z]{26}")
_ADDRESSED = re.compile(r"[A-Za-z0-9._@:-]{1,100}")
"""What a path may name: ids, and names of workers."""

_MOST_OBJECTS = 20
_OBJECTS = "misc.objects"


class AuditMiddleware:
    """Sees refusals too, since it lies around everything that refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and say afterwards what came of it."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        objects: dict[str, None] = {}
        scope[_OBJECTS] = objects
        status = 0

        async def _send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, _send)
        finally:
            given = [value for value in scope.get("path_params", {}).values() if _ADDRESSED.fullmatch(str(value))]
            client = scope.get("client")
            caller: Caller | None = scope.get("misc.caller")
            _log.info(
                "audit",
                owner=caller and caller.owner,
                key=_key_of(scope)[:_KEY_CHARS] if caller else None,
                address=client[0] if client else None,
                method=scope["method"],
                route=getattr(scope.get("route"), "path", None),
                objects=list(dict.fromkeys([*given, *objects]))[:_MOST_OBJECTS],
                status=status,
                outcome=_outcome(status),
            )


def _key_of(scope: Scope) -> str:
    """The digest of the key that a request came with; empty where it came with none."""
    return digest_in(
        next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")
    )


def note_objects(scope: Scope, body: Mapping[str, Any]) -> None:
    """Add what an answer names first to the line of its request: what was made, or was there."""
    noted: dict[str, None] = scope.get(_OBJECTS, {})
    noted.update(dict.fromkeys(_ids(body)))


def _ids(body: Mapping[str, Any]) -> Iterator[str]:
    for part in (body, *(value for value in body.values() if isinstance(value, Mapping))):
        if isinstance(found := part.get("id"), str) and _OBJECT.fullmatch(found):
            yield found
    yield from (one for one in body.get("retried", ()) if isinstance(one, str))


def _outcome(status: int) -> str:
    if status == 0:
        return "broken off"
    if status < 400:
        return "done"
    return "refused" if status < 500 else "failed"
