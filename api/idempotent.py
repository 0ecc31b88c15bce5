"""`Idempotency-Key` for every request that creates something: sent twice, it is done once and answered alike."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.services import Services
from core import idempotency
from core.database import Database, Session
from core.errors import RequestInvalid, ServiceError
from core.idempotency import StoredResponse
from core.logging import get_logger

_log = get_logger(__name__)

_MAX_KEY_CHARS = 255


class IdempotentRun:
    """One request under its key: either its work is still to be done, or it is a repetition with a stored response."""

    def __init__(self, database: Database, caller: str, key: str | None, replayed: StoredResponse | None) -> None:
        self._database, self._caller, self._key = database, caller, key
        self._response = replayed
        self.is_new = replayed is None

    def store_response(self, session: Session, status: int, body: BaseModel, location: str | None) -> None:
        """Set the response, and store it in the transaction that does the work: both are there afterwards, or neither.

        To be called last in the transaction. Raises IdempotencyInFlight when the key was given to another request.
        """
        self._response = StoredResponse(status, body.model_dump(mode="json"), location)
        if self._key is not None:
            idempotency.complete(session, self._caller, self._key, self._response)

    def store_response_alone(self, status: int, body: BaseModel, location: str | None) -> None:
        """The same for a request that changed nothing; without a key no transaction is opened."""
        self._response = StoredResponse(status, body.model_dump(mode="json"), location)
        if self._key is not None:
            with self._database.write() as session:
                idempotency.complete(session, self._caller, self._key, self._response)

    def response(self) -> Response:
        """The response of this request or of the first one with its key."""
        assert self._response is not None, "a run that ended without an error has stored its response"
        headers = {} if self._response.location is None else {"Location": self._response.location}
        if not self.is_new:
            headers["Idempotency-Replayed"] = "true"
        return JSONResponse(self._response.body, self._response.status, headers)


@asynccontextmanager
async def run_idempotent(request: Request, services: Services, payload: dict[str, Any]) -> AsyncIterator[IdempotentRun]:
    """Begin a request whose block does the work if the run `is_new`; an error in the block frees the key.

    `payload` is all that the request says, digests in place of files. Raises IdempotencyInFlight, IdempotencyMismatch
    and RequestInvalid.
    """
    database, key = services.database, _key_of(request)
    caller: str = request.scope["misc.caller"]
    if key is None:
        yield IdempotentRun(database, caller, None, None)
        return
    stored = await run_in_threadpool(
        idempotency.begin,
        database,
        caller,
        key,
        fingerprint(request, payload),
        services.settings.idempotency_lifetime,
    )
    try:
        yield IdempotentRun(database, caller, key, stored)
    except Exception:
        try:
            await run_in_threadpool(idempotency.abandon, database, caller, key)
        except ServiceError as error:
            # The caller has to hear of the first error; the key is taken for abandoned later.
            _log.warning("key_not_freed", code=error.code, error=str(error))
        raise


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
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= _MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise RequestInvalid(f"Idempotency-Key has to be 1 to {_MAX_KEY_CHARS} printable ASCII characters.")
    return key
