"""Stored responses by `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.database import Database
from core.errors import IdempotencyInFlight, IdempotencyMismatch
from models.base import JSONObject, utc_now
from models.idempotency import IdempotencyKey

_ABANDONED_AFTER = timedelta(minutes=10)
"""A key whose first request is still unanswered after this long belonged to a process that died."""

_EXPIRED_AT_ONCE = 100
"""Expired responses that one request deletes: more than it adds, and too few to make it slow."""


@dataclass(frozen=True)
class StoredResponse:
    """The response to the first request with a key."""

    status: int
    body: JSONObject
    location: str | None


def begin(database: Database, caller: str, key: str, request_sha256: str, lifetime: timedelta) -> StoredResponse | None:
    """Reserve the key and return None, or return the response to the same request before. Deletes expired ones.

    Raises IdempotencyInFlight while the first request runs, IdempotencyMismatch when it was another request.
    """
    now = utc_now()
    expired = IdempotencyKey.created_at < now - lifetime
    with database.write() as session:
        session.execute(
            delete(IdempotencyKey).where(
                IdempotencyKey.caller == caller,
                IdempotencyKey.key == key,
                expired | (IdempotencyKey.status.is_(None) & (IdempotencyKey.created_at < now - _ABANDONED_AFTER)),
            )
        )
        # Requests that delete at the same time pass over each other's rows instead of waiting in a circle.
        old = select(IdempotencyKey.caller, IdempotencyKey.key).where(expired).limit(_EXPIRED_AT_ONCE)
        session.execute(
            delete(IdempotencyKey).where(
                tuple_(IdempotencyKey.caller, IdempotencyKey.key).in_(old.with_for_update(skip_locked=True))
            )
        )
    try:
        with database.write() as session:
            session.add(IdempotencyKey(caller=caller, key=key, request_sha256=request_sha256))
        return None
    except IntegrityError:
        pass
    with database.read() as session:
        stored = session.get(IdempotencyKey, (caller, key))
    if stored is None or (stored.status is None and stored.request_sha256 == request_sha256):
        raise IdempotencyInFlight("The first request with this Idempotency-Key is still running; try again shortly.")
    if stored.request_sha256 != request_sha256:
        raise IdempotencyMismatch("This Idempotency-Key was used with another request; take a new key.")
    return StoredResponse(cast(int, stored.status), stored.answer or {}, stored.location)


def complete(session: Session, caller: str, key: str, response: StoredResponse) -> None:
    """Store the response, in the transaction that does the work: both are there afterwards, or neither.

    Raises IdempotencyInFlight when another request has taken the key over and answered meanwhile.
    """
    updated = cast(
        "CursorResult[Any]",
        session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.caller == caller, IdempotencyKey.key == key, IdempotencyKey.status.is_(None))
            .values(status=response.status, answer=response.body, location=response.location)
        ),
    )
    if updated.rowcount != 1:
        raise IdempotencyInFlight("This request took so long that its Idempotency-Key was given away; send it again.")


def abandon(database: Database, caller: str, key: str) -> None:
    """Free the key of a request that failed, so that it can be sent again; one that was answered stays answered."""
    with database.write() as session:
        session.execute(
            delete(IdempotencyKey).where(
                IdempotencyKey.caller == caller, IdempotencyKey.key == key, IdempotencyKey.status.is_(None)
            )
        )
