"""`Idempotency-Key` for every request that creates something: sent twice, it is done once and answered twice."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.services import Services
from core import idempotency
from core.errors import RequestInvalid, ServiceError
from core.idempotency import StoredAnswer
from core.logging import get_logger

_log = get_logger(__name__)

_MAX_KEY_CHARS = 255

Keep = Callable[[Session, StoredAnswer], None]
"""Stores the answer as the last statement of the transaction that does the work."""


def answer_of(status: int, body: BaseModel, location: str | None) -> StoredAnswer:
    """An answer in the form in which it can be kept and given again."""
    return StoredAnswer(status, body.model_dump(mode="json"), location)


async def answered_once(
    request: Request, services: Services, payload: dict[str, Any], act: Callable[[Keep], Awaitable[StoredAnswer]]
) -> Response:
    """Run `act`, or give the answer that it gave to the same key before.

    `payload` is everything that the request says, digests in place of files. `act` calls what it is given inside its
    own transaction, so that a process that dies leaves both work and answer, or neither. Raises IdempotencyInFlight,
    IdempotencyMismatch and RequestInvalid; a refused request frees its key.
    """
    key = _key_of(request)
    if key is None:
        return _respond(await act(keep_nothing), replayed=False)
    caller: str = request.scope["misc.caller"]
    said = json.dumps([request.method, request.url.path, payload], sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()
    database = services.database
    stored = await run_in_threadpool(
        idempotency.begin, database, caller, key, digest, services.settings.idempotency_lifetime
    )
    if stored is not None:
        return _respond(stored, replayed=True)

    def _keep(session: Session, answer: StoredAnswer) -> None:
        idempotency.complete(session, caller, key, answer)

    try:
        answer = await act(_keep)
    except Exception:
        try:
            await run_in_threadpool(idempotency.abandon, database, caller, key)
        except ServiceError as error:
            # What went wrong first is what the caller has to hear; the key is taken for abandoned later.
            _log.warning("key_not_freed", code=error.code, error=str(error))
        raise
    return _respond(answer, replayed=False)


def keep_nothing(_session: Session, _answer: StoredAnswer) -> None:
    """What `act` is given for a request without a key."""


def _respond(answer: StoredAnswer, *, replayed: bool) -> Response:
    headers = {} if answer.location is None else {"Location": answer.location}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(answer.body, answer.status, headers)


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
