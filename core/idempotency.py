"""Stored responses by `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

While a request is answered its process holds the key by a short lease, which one thread renews. A process that died
renews nothing, so its keys are free again within the lease.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, or_, select, tuple_, update
from sqlalchemy.orm import Session

from core.background import Periodic
from core.database import Database, insert_into, shared_now
from core.errors import IdempotencyInFlight, IdempotencyMismatch, ServiceError
from core.logging import get_logger
from models.base import JSONObject, new_id
from models.idempotency import IdempotencyKey

_log = get_logger(__name__)

LEASE = timedelta(seconds=8)
"""How long a key stays taken after its holder died."""

_RENEWAL_SECONDS = 2.0
"""Several renewals may be late before a living holder loses its key."""

_EXPIRED_AT_ONCE = 100
"""Expired responses that one request deletes: more than it adds, and too few to make it slow."""


@dataclass(frozen=True)
class StoredResponse:
    """The response to the first request with a key."""

    status: int
    body: JSONObject
    location: str | None


@dataclass(frozen=True)
class HeldKey:
    """A key whose request is being answered; `token` tells this holder from others before and after it."""

    caller: str
    key: str
    token: str


class KeyKeeper:
    """Takes keys for the requests of one process, and renews their leases until they are answered or freed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: set[HeldKey] = set()
        self._lock = threading.Lock()
        self._thread = Periodic("key-keeper", _RENEWAL_SECONDS, self._renew_all)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def take(self, caller: str, key: str, request_sha256: str, lifetime: timedelta) -> HeldKey | StoredResponse:
        """Hold the key until it is let go, or return the response to the same request before.

        Raises IdempotencyInFlight while the first request runs, IdempotencyMismatch when it was another request.
        """
        taken = begin(self._database, caller, key, request_sha256, lifetime)
        if isinstance(taken, HeldKey):
            with self._lock:
                self._held.add(taken)
        return taken

    def release(self, held: HeldKey) -> None:
        """Stop renewing. A key that was not answered is free after its lease."""
        with self._lock:
            self._held.discard(held)

    def abandon(self, held: HeldKey) -> None:
        """Free the key of a request that failed, at once where the database answers, else after its lease."""
        self.release(held)
        try:
            abandon(self._database, [held])
        except ServiceError as error:
            _log.warning("key_not_freed", code=error.code, error=str(error))

    def close(self) -> None:
        """Free the keys of requests that this process will not answer any more."""
        self._thread.close()
        with self._lock:
            left, self._held = self._held, set()
        try:
            abandon(self._database, left)
        except ServiceError as error:
            _log.warning("keys_not_freed", count=len(left), code=error.code, error=str(error))

    def _renew_all(self) -> None:
        with self._lock:
            held = list(self._held)
        if held:
            with self._database.write() as session:
                prolonged = update(IdempotencyKey).where(_are_held(held))
                session.execute(prolonged.values(lease_expires_at=shared_now(session) + LEASE))


def begin(
    database: Database, caller: str, key: str, request_sha256: str, lifetime: timedelta
) -> HeldKey | StoredResponse:
    """Take the key for the length of a lease, or return the response to the same request before. Deletes expired ones.

    Raises IdempotencyInFlight while the first request runs, IdempotencyMismatch when it was another request.
    """
    held = HeldKey(caller, key, new_id("idk"))
    with database.write() as session:
        now = shared_now(session)
        is_old = IdempotencyKey.created_at < now - lifetime
        is_free = or_(IdempotencyKey.lease_expires_at.is_(None), IdempotencyKey.lease_expires_at < now)
        first: dict[str, Any] = {
            "request_sha256": request_sha256,
            "created_at": now,
            "holder": held.token,
            "lease_expires_at": now + LEASE,
        }
        unanswered: dict[str, Any] = {"status": None, "answer": None, "location": None}
        taken = session.execute(
            insert_into(session, IdempotencyKey)
            .values(caller=caller, key=key, **first)
            .on_conflict_do_update(
                index_elements=[IdempotencyKey.caller, IdempotencyKey.key],
                set_=first | unanswered,
                where=or_(is_old, and_(IdempotencyKey.status.is_(None), is_free)),
            )
            .returning(IdempotencyKey.key)
        ).first()
        # Requests that delete at the same time pass over each other's rows instead of waiting in a circle.
        old = select(IdempotencyKey.caller, IdempotencyKey.key).where(is_old).limit(_EXPIRED_AT_ONCE)
        session.execute(
            delete(IdempotencyKey).where(
                tuple_(IdempotencyKey.caller, IdempotencyKey.key).in_(old.with_for_update(skip_locked=True))
            ),
            execution_options={"synchronize_session": False},
        )
    if taken is not None:
        return held
    with database.read() as session:
        stored = session.get(IdempotencyKey, (caller, key))
    if stored is None or (stored.status is None and stored.request_sha256 == request_sha256):
        raise IdempotencyInFlight("The first request with this Idempotency-Key is still running; try again shortly.")
    if stored.request_sha256 != request_sha256:
        raise IdempotencyMismatch("This Idempotency-Key was used with another request; take a new key.")
    return StoredResponse(cast(int, stored.status), stored.answer or {}, stored.location)


def complete(session: Session, held: HeldKey, response: StoredResponse) -> None:
    """Store the response, in the transaction that does the work: both are there afterwards, or neither.

    Raises IdempotencyInFlight when another request has taken the key over.
    """
    updated = cast(
        "CursorResult[Any]",
        session.execute(
            update(IdempotencyKey)
            .where(_are_held([held]))
            .values(
                status=response.status,
                answer=response.body,
                location=response.location,
                holder=None,
                lease_expires_at=None,
            )
        ),
    )
    if updated.rowcount != 1:
        raise IdempotencyInFlight("This request took so long that its Idempotency-Key was given away; send it again.")


def abandon(database: Database, held: Iterable[HeldKey]) -> None:
    """Free the keys of requests that failed, so that they can be sent again; an answered one stays answered."""
    keys = list(held)
    if keys:
        with database.write() as session:
            session.execute(delete(IdempotencyKey).where(_are_held(keys)))


def _are_held(keys: Iterable[HeldKey]) -> ColumnElement[bool]:
    """The rows of keys that are still held by these holders and not answered."""
    rows = tuple_(IdempotencyKey.caller, IdempotencyKey.key, IdempotencyKey.holder)
    return and_(rows.in_([(held.caller, held.key, held.token) for held in keys]), IdempotencyKey.status.is_(None))
