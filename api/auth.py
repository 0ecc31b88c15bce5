"""Who may call: bearer keys where there are some, otherwise callers on this machine only."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem, problem_of
from core.errors import Forbidden, ServiceError, SettingsInvalid, Unauthorized
from core.owners.caller import OPERATOR, Caller
from core.owners.key_book import Entry, KeyBook
from core.owners.scope import Scope as KeyScope
from core.settings import APISettings

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_OPEN_PREFIX = "/web/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
"""What a browser says of requests by this service's own pages, and of those that its user typed."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
"""A Host header as this service's own clients send it; a name before an @ would be the user's, not the host's."""

_NEEDS_KEY = "Send a key of this service as 'Authorization: Bearer KEY'."

_NO_KEY = ""
"""Stands for the digest of a request without a key."""


class AuthMiddleware:
    """Lets a request through or answers it. Only the hashes of keys stay in memory."""

    def __init__(self, app: ASGIApp, keys: Iterable[SecretStr], book: KeyBook) -> None:
        """`keys` are those of the settings, `book` has those of the database."""
        self._app, self._book = app, book
        self._digests = [hashlib.sha256(key.get_secret_value().encode()).hexdigest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its caller, or refuse it. What is open to everybody asks no database."""
        if scope["type"] == "http" and not _is_open(scope["path"]):
            try:
                scope["misc.caller"] = await self._admit(scope)
            except _ForeignRequest as refusal:
                await problem(scope, 421, "host_not_allowed", str(refusal))(scope, receive, send)
                return
            except ServiceError as error:
                await problem_of(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Caller:
        """The caller of a request; raises Unauthorized, Forbidden, _ForeignRequest and DatabaseUnavailable."""
        headers = scope["headers"]
        digest = digest_in(next(iter(_values(headers, b"authorization")), ""))
        if self._is_of_settings(digest):
            return OPERATOR
        if self._digests and digest == _NO_KEY:
            raise Unauthorized(_NEEDS_KEY)
        entry = await self._look_up(digest)
        if entry.caller is None:
            if self._digests or entry.keys_are_in_use:
                raise Unauthorized(_NEEDS_KEY)
            _check_own(scope["method"], headers)
            return OPERATOR
        needed = KeyScope.READ if scope["method"] in _SAFE_METHODS else KeyScope.SUBMIT
        _check_scope(entry.caller, needed)
        return entry.caller

    def _is_of_settings(self, digest: str) -> bool:
        # Every key is compared, so that the time does not tell which one was close.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    async def _look_up(self, digest: str) -> Entry:
        entry = self._book.recall(digest)
        return await run_in_threadpool(self._book.look_up, digest) if entry is None else entry


async def _caller_of(request: Request) -> Caller:
    caller: Caller = request.scope["misc.caller"]
    return caller


CallerDependency = Annotated[Caller, Depends(_caller_of)]
"""The type by which an endpoint asks who calls."""


async def _check_operator(caller: CallerDependency) -> None:
    _check_scope(caller, KeyScope.ADMIN)


FOR_OPERATORS = Depends(_check_operator)
"""Makes a route one for callers with the scope `admin`."""


def check_listening(settings: APISettings) -> None:
    """Raise SettingsInvalid for an address that others can reach while no keys are configured.

    Keys of the database do not count, since one that is made later must not decide whether the service starts.
    """
    if not settings.keys and not is_loopback(settings.host):
        raise SettingsInvalid(
            f"Listening on {settings.host} would let anybody in: set MISC_API_KEYS to one or more keys, "
            f"or MISC_API_HOST to 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """True for `localhost` and for addresses that only this machine can reach."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)


class _ForeignRequest(Exception):
    """A request without a key that is not from this machine's own user."""


def digest_in(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return _NO_KEY
    return hashlib.sha256(key.strip().encode("latin-1")).hexdigest()


def _check_scope(caller: Caller, needed: KeyScope) -> None:
    if not caller.may(needed):
        raise Forbidden(f"This key has not the scope {needed.value!r}, which the request needs.")


def _check_own(method: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise _ForeignRequest unless a request without a key is from this machine's own user.

    A page from elsewhere can make a browser call 127.0.0.1: under a name of its own that resolves to it (the Host
    header gives that away), or as a form that needs nobody's permission (Origin and Sec-Fetch-Site do). Another
    program's page on this machine is from elsewhere too, so an origin has to be this service's own, port included.
    """
    hosts = _values(headers, b"host")
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None or not is_loopback(match["name"]):
        raise _ForeignRequest(
            "Without keys the service answers to localhost only. Use http://127.0.0.1, or configure MISC_API_KEYS."
        )
    if method not in _SAFE_METHODS:
        origins = [origin.lower() for origin in _values(headers, b"origin")]
        own_origins = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        sites = {site.lower() for site in _values(headers, b"sec-fetch-site")}
        if not own_origins.issuperset(origins) or not _OWN_SITES.issuperset(sites):
            raise _ForeignRequest(
                "Pages from elsewhere may not use this service; configure MISC_API_KEYS and send a key."
            )


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key == name]
