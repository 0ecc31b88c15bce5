"""Keeps storage and database in step: no object is forgotten, and none is deleted that a row refers to.

An object is *reserved* before it is written, and *retained* in the transaction that first refers to it; a transaction
that gives up a reference *drops* it. What a crash leaves in between, and what was dropped, is *swept*.

Storage is never called inside a transaction, since a slow store would then hold SQLite's only writer. A sweep has three
steps instead (`core.archive.deletions`): it claims the pending deletion, if no row refers to the object; deletes the
object; deletes the claim.
"""

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import case, delete, or_, select, update
from sqlalchemy.orm import Session

from codec.media import media_type_of
from core.archive.object_kinds import is_referred_to, kind_of
from core.archive.packs import members
from core.database import Database, insert_into
from core.errors import ObjectCorrupt, ObjectNotFound, ServiceError, StorageUnavailable
from core.logging import get_logger
from core.storage import Storage
from models.base import utc_now
from models.pending_deletion import PendingDeletion
from models.stored_object import StoredObject

_log = get_logger(__name__)

RESERVATION = timedelta(hours=1)
"""Longer than it takes to write an object and record it."""

LONGEST_DELAY = timedelta(minutes=20)
"""How long a deletion may be on its way: stores refuse a request 15 minutes after it was signed."""

_WAIT_SECONDS = 20.0
"""Longer than a store takes to answer a deletion, or not to."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class NewObject:
    """An object to be stored and referred to: its key, and the digest and size of its bytes."""

    key: str
    sha256: str
    size_bytes: int


class ReservationLost(StorageUnavailable):
    """Nothing protected the object until it was recorded. Whoever stored it stores it again."""


def store(database: Database, storage: Storage, new: NewObject, data: bytes | Path, *, replaces: bool = False) -> None:
    """Reserve the object and write it; one that is there already is kept, unless it is damaged or `replaces` says so.

    Raises what `reserve` and `Storage.put` raise.
    """
    reserve(database, new.key)
    put_reserved(database, storage, new, data, replaces=replaces)


def put_reserved(
    database: Database, storage: Storage, new: NewObject, data: bytes | Path, *, replaces: bool = False
) -> None:
    """Write an object that was reserved, as `store` does. What lies in a pack already is not written again."""
    content_type = media_type_of(new.key)
    with database.read() as session:
        holder = members.holder_of(session, new.key)
    replaces = replaces or is_damaged(database, holder)
    if holder != new.key and not replaces:
        return
    try:
        storage.put(new.key, data, content_type=content_type, sha256=new.sha256, replaces=replaces)
    except ObjectCorrupt:
        if replaces:
            raise
        # An object of another size is in the way; data that has another digest is refused once more.
        replaces = True
        storage.put(new.key, data, content_type=content_type, sha256=new.sha256, replaces=True)
    if replaces:
        _log.warning("damaged_object_replaced", key=new.key)
        with database.write() as session:
            session.execute(update(StoredObject).where(StoredObject.key == new.key).values(damaged_at=None))
            _take_out(session, new)


def take_out(database: Database, storage: Storage, new: NewObject, data: bytes) -> bool:
    """Store what lies in a pack as an object of its own; False when it does not lie there any more."""
    reserve(database, new.key)
    storage.put(new.key, data, content_type=media_type_of(new.key), sha256=new.sha256, replaces=True)
    with database.write() as session:
        return _take_out(session, new)


def _take_out(session: Session, new: NewObject) -> bool:
    """Have the object, just written, take the place of what lies in a pack, unless a sweep is about to delete it."""
    is_there = lock_reservation(session, new.key) and bool(members.bury(session, [new.key]))
    if is_there:
        _catalogue(session, new)
    return is_there


def reserve(database: Database, key: str) -> None:
    """Announce that the object will be written and recorded within RESERVATION.

    Waits while a sweep deletes the object; raises StorageUnavailable when the outcome of a deletion is not known.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        with database.write() as session:
            if _postpone(session, key, utc_now() + RESERVATION):
                return
            is_under_way = session.scalar(select(PendingDeletion.deletion_token).where(PendingDeletion.key == key))
        if is_under_way is None or time.monotonic() > deadline:
            raise StorageUnavailable(
                f"A deletion of {key} was not answered and may still be carried out; "
                f"store it again in {LONGEST_DELAY.seconds // 60} minutes."
            )
        time.sleep(_POLL_SECONDS)


def blocked(session: Session, keys: Collection[str]) -> set[str]:
    """Those whose deletion is under way, or was not answered and may still be carried out."""
    query = select(PendingDeletion.key).where(PendingDeletion.key.in_(keys), PendingDeletion.blocked_until > utc_now())
    return set(session.scalars(query))


def reserve_each(database: Database, keys: Iterable[str]) -> list[str]:
    """Reserve many objects in one transaction; returns those whose key was not blocked by a deletion."""
    with database.write() as session:
        return [key for key in sorted(keys) if _postpone(session, key, utc_now() + RESERVATION)]


def retain(session: Session, new: NewObject) -> None:
    """Refer to the object from this transaction on; to be called before the row that refers to it is written.

    Raises ReservationLost when nothing protected the object until now, and a sweep may have deleted it: the reservation
    was over (a suspended machine, a slow line), or another of the same content came and went meanwhile.
    """
    is_retained = _cancel_reservation(session, new.key) or session.scalar(select(is_referred_to(new.key)))
    if not is_retained:
        raise ReservationLost("An object was deleted before it was recorded; store it again.")
    if members.holder_of(session, new.key) != new.key:
        # It lies in a pack. Should it have been written once more meanwhile, that object goes.
        _postpone(session, new.key, utc_now())
        return
    _catalogue(session, new)


def _catalogue(session: Session, new: NewObject) -> None:
    """Note the object among those that are stored."""
    statement = insert_into(session, StoredObject).values(
        key=new.key,
        kind=kind_of(new.key),
        sha256=new.sha256,
        size_bytes=new.size_bytes,
        location=new.key,
        created_at=utc_now(),
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[StoredObject.key],
            set_={"size_bytes": statement.excluded.size_bytes},
            where=StoredObject.size_bytes.is_(None),
        )
    )


def lock_reservation(session: Session, key: str) -> bool:
    """Lock the reservation for the rest of the transaction, so that one of several that retain the object at once goes
    first; False when there is none."""
    query = select(PendingDeletion.key).where(PendingDeletion.key == key, PendingDeletion.blocked_until.is_(None))
    return session.execute(query.with_for_update()).first() is not None


def lock_reservations(session: Session, keys: Collection[str]) -> None:
    """Lock the reservations of many, in one order, so that two transactions cannot wait for each other."""
    query = select(PendingDeletion.key).where(PendingDeletion.key.in_(keys), PendingDeletion.blocked_until.is_(None))
    session.execute(query.order_by(PendingDeletion.key).with_for_update()).all()


def drop(session: Session, key: str, *, shared: bool) -> None:
    """Give up a reference in this transaction. A shared object waits, since somebody may be about to refer to it."""
    _postpone(session, key, utc_now() + (RESERVATION if shared else timedelta(0)))


def release(session: Session, keys: Sequence[str]) -> set[str]:
    """Give up objects whose bytes lie in a pack now, in this transaction; returns those that were still there."""
    released: set[str] = set()
    for lot in members.lots(sorted(keys)):
        unblocked = _postpone_each(session, lot, utc_now())
        rows = session.execute(
            delete(StoredObject).where(StoredObject.key.in_(unblocked)).returning(StoredObject.key),
            execution_options={"synchronize_session": False},
        )
        released.update(rows.scalars())
    return released


def note_verified(session: Session, key: str) -> None:
    """Record that the object was read back whole and had its digest."""
    session.execute(
        update(StoredObject).where(StoredObject.key == key).values(last_verified_at=utc_now()),
        execution_options={"synchronize_session": False},
    )


def note_damaged(database: Database, key: str) -> None:
    """Record that the object, or what lies in a pack under this key, was read and does not have its digest: the next
    one to be stored replaces it.

    Raises nothing: whoever found it has an error of their own to tell.
    """
    _log.error("object_damaged", key=key)
    try:
        with database.read() as session:
            holder = members.holder_of(session, key)
        statement = update(StoredObject).where(StoredObject.key == holder, StoredObject.damaged_at.is_(None))
        database.execute_alone(statement.values(damaged_at=utc_now()))
    except ServiceError as error:
        _log.warning("damage_not_noted", key=key, code=error.code, error=str(error))


@contextlib.contextmanager
def damage_noted(database: Database, key: str) -> Iterator[None]:
    """Record what a block that reads the object finds out when it raises ObjectCorrupt."""
    try:
        yield
    except ObjectCorrupt:
        note_damaged(database, key)
        raise


def is_damaged(database: Database, key: str) -> bool:
    """Whether the object was found not to have its digest, and was not replaced since."""
    with database.read() as session:
        damaged_at = session.scalar(select(StoredObject.damaged_at).where(StoredObject.key == key))
    return damaged_at is not None


def is_stored(storage: Storage, key: str) -> bool:
    """Whether the store has the object now."""
    try:
        storage.head(key)
    except ObjectNotFound:
        return False
    return True


def is_intact(database: Database, storage: Storage, key: str) -> bool:
    """Whether the store has the object, and nobody found it damaged."""
    return not is_damaged(database, key) and is_stored(storage, key)


def _postpone(session: Session, key: str, due_at: datetime) -> bool:
    """Insert the pending deletion, or move it to a later time; False, and nothing done, while the key is blocked."""
    return bool(_postpone_each(session, [key], due_at))


def _postpone_each(session: Session, keys: Sequence[str], due_at: datetime) -> list[str]:
    """The same for many; returns the keys that are not blocked."""
    statement = insert_into(session, PendingDeletion).values([{"key": key, "due_at": due_at} for key in keys])
    later = case(
        (PendingDeletion.due_at < statement.excluded.due_at, statement.excluded.due_at), else_=PendingDeletion.due_at
    )
    changed = session.execute(
        statement.on_conflict_do_update(
            index_elements=[PendingDeletion.key],
            set_={"due_at": later, "deletion_token": None, "blocked_until": None, "retained_at": None},
            where=or_(PendingDeletion.blocked_until.is_(None), PendingDeletion.blocked_until <= utc_now()),
        ).returning(PendingDeletion.key)
    )
    return list(changed.scalars())


def _cancel_reservation(session: Session, key: str) -> bool:
    """True when there was a reservation that no deletion has claimed."""
    cancelled = session.execute(
        delete(PendingDeletion)
        .where(PendingDeletion.key == key, PendingDeletion.blocked_until.is_(None))
        .returning(PendingDeletion.key)
    )
    return cancelled.first() is not None
