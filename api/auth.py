"""Who may call: bearer keys where some are configured, otherwise callers on this machine only."""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

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
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._digests:
            caller = self._caller(headers.get(b"authorization", ""))
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


def _foreign(method: str, headers: dict[bytes, str]) -> str | None:
    """Why a request without a key is not from this machine's own user; None when it is.

    A page from elsewhere can make a browser call 127.0.0.1: under a name of its own that resolves to it (the Host
    header gives that away), or as a form that needs nobody's permission (the Origin header does).
    """
    host = _host_of(f"//{headers.get(b'host', '')}")
    if host is None or not is_loopback(host):
        return "Without keys the service answers to localhost only. Use http://127.0.0.1, or configure MISC_API_KEYS."
    origin = headers.get(b"origin")
    if method not in _SAFE_METHODS and origin is not None:
        origin_host = _host_of(origin)
        if origin_host is None or not is_loopback(origin_host):
            return "Pages from elsewhere may not use this service; configure MISC_API_KEYS and send a key."
    return None


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
