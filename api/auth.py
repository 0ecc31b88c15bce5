"""Who may call: bearer keys where some are configured, otherwise callers on this machine only."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem, problem_of
from core.errors import SettingsInvalid, Unauthorized
from core.settings import APISettings

ANYBODY = "anybody"
"""The caller where no keys are configured."""

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_OPEN_PREFIX = "/web/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
"""What a browser says of requests by this service's own pages, and of those that its user typed."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
"""A Host header as this service's own clients send it; a name before an @ would be the user's, not the host's."""


class AuthMiddleware:
    """Lets a request through or answers it. Only the hashes of the keys stay in memory."""

    def __init__(self, app: ASGIApp, keys: Iterable[SecretStr]) -> None:
        self._app = app
        self._digests = [hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its caller's name, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        if self._digests:
            caller = self._caller(next(iter(_values(headers, b"authorization")), ""))
            if caller is None and not _is_open(scope["path"]):
                error = Unauthorized("Send one of the configured keys as 'Authorization: Bearer KEY'.")
                await problem_of(scope, error)(scope, receive, send)
                return
            scope["misc.caller"] = caller or ANYBODY
        else:
            refusal = _foreign(scope["method"], headers)
            if refusal is not None:
                await problem(scope, 421, "host_not_allowed", refusal)(scope, receive, send)
                return
            scope["misc.caller"] = ANYBODY
        await self._app(scope, receive, send)

    def _caller(self, authorization: str) -> str | None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
        # Every key is compared, so that the time does not tell which one was close.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex() if any(matches) else None


def check_listening(settings: APISettings) -> None:
    """Raise SettingsInvalid for an address that others can reach while no keys are configured."""
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


def _foreign(method: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a request without a key is not from this machine's own user; None when it is.

    A page from elsewhere can make a browser call 127.0.0.1: under a name of its own that resolves to it (the Host
    header gives that away), or as a form that needs nobody's permission (Origin and Sec-Fetch-Site do). Another
    program's page on this machine is from elsewhere too, so an origin has to be this service's own, port included.
    """
    hosts = _values(headers, b"host")
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None or not is_loopback(match["name"]):
        return "Without keys the service answers to localhost only. Use http://127.0.0.1, or configure MISC_API_KEYS."
    if method not in _SAFE_METHODS:
        origins = [origin.lower() for origin in _values(headers, b"origin")]
        own_origins = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        sites = {site.lower() for site in _values(headers, b"sec-fetch-site")}
        if not own_origins.issuperset(origins) or not _OWN_SITES.issuperset(sites):
            return "Pages from elsewhere may not use this service; configure MISC_API_KEYS and send a key."
    return None


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key == name]
