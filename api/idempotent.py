"""`Idempotency-Key` for every request that creates something: sent twice, it is done once and answered alike."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CancelScope
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from api.audit import note_objects
from api.openapi import KEY_PATTERN
from api.quota import headers_of
from api.services import Services
from core import idempotency
from core.database import Database, Session
from core.errors import RequestInvalid
from core.idempotency import HeldKey, StoredResponse
from core.owners.caller import Caller
from core.owners.quotas import Standing

_MAX_KEY_CHARS = 255
_KEY = re.compile(KEY_PATTERN)


class IdempotentRun:
    """One request under its key: either its work is still to be done, or it is a repetition with a stored response."""

    def __init__(
        self, scope: Scope, database: Database, held: HeldKey | None = None, replayed: StoredResponse | None = None
    ) -> None:
        self._scope, self._database, self._held = scope, database, held
        self._response = replayed
        self._standing: Standing | None = None
        self.is_new = replayed is None

    def note_standing(self, standing: Standing) -> None:
        """Have the response tell what the owner's quota leaves."""
        self._standing = standing

    def store_response(self, session: Session, status: int, body: BaseModel, location: str | None) -> None:
        """Set the response, and store it in the transaction that does the work: both are there afterwards, or neither.

        To be called last in the transaction. Raises IdempotencyInFlight when the key was given to another request.
        """
        self._response = StoredResponse(status, body.model_dump(mode="json"), location)
        if self._held is not None:
            idempotency.complete(session, self._held, self._response)

    def store_response_alone(self, status: int, body: BaseModel, location: str | None) -> None:
        """The same for a request that changed nothing; without a key no transaction is opened."""
        self._response = StoredResponse(status, body.model_dump(mode="json"), location)
        if self._held is not None:
            with self._database.write() as session:
                idempotency.complete(session, self._held, self._response)

    @property
    def body(self) -> dict[str, Any]:
        """What is answered."""
        assert self._response is not None, "a run that ended without an error has stored its response"
        return self._response.body

    def response(self) -> Response:
        """The response of this request or of the first one with its key."""
        assert self._response is not None, "a run that ended without an error has stored its response"
        note_objects(self._scope, self._response.body)
        headers = {} if self._standing is None else headers_of(self._standing)
        if self._response.location is not None:
            headers["Location"] = self._response.location
        if not self.is_new:
            headers["Idempotency-Replayed"] = "true"
        return JSONResponse(self._response.body, self._response.status, headers)


@asynccontextmanager
async def run_idempotent(request: Request, services: Services, payload: dict[str, Any]) -> AsyncIterator[IdempotentRun]:
    """Begin a request whose block does the work if the run `is_new`; an error in the block frees the key.

    `payload` is all that the request says, digests in place of files. Raises IdempotencyInFlight, IdempotencyMismatch
    and RequestInvalid.
    """
    key, keeper = _key_of(request), services.key_keeper
    if key is None:
        yield IdempotentRun(request.scope, services.database)
        return
    caller: Caller = request.scope["misc.caller"]
    lifetime = services.settings.idempotency_lifetime
    taken = await run_in_threadpool(keeper.take, caller.owner, key, fingerprint(request, payload), lifetime)
    if isinstance(taken, StoredResponse):
        yield IdempotentRun(request.scope, services.database, replayed=taken)
        return
    try:
        yield IdempotentRun(request.scope, services.database, taken)
    except BaseException:
        # Also when the process stops and cuts the request off; the caller has to hear of this error, not of another.
        with CancelScope(shield=True):
            await run_in_threadpool(keeper.abandon, taken)
        raise
    keeper.release(taken)


def fingerprint(request: Request, payload: dict[str, Any]) -> str:
    """SHA-256 that two requests share which ask for the same."""
    text = json.dumps([request.method, request.url.path, payload], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _key_of(request: Request) -> str | None:
    """The key; written as a string in quotes (as the draft has it) or bare (as most callers do)."""
    header = request.headers.get("idempotency-key")
    if header is None:
        return None
    key = header.strip()
    if len(key) > _MAX_KEY_CHARS or _KEY.fullmatch(key) is None:
        raise RequestInvalid(
            f"Idempotency-Key has to be 1 to {_MAX_KEY_CHARS} printable ASCII characters, bare or in quotes."
        )
    return key[1:-1] if key[0] == '"' else key
