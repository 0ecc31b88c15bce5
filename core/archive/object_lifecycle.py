"""Keeps storage and database in step: no object is forgotten, and none is deleted that a row refers to.

An object is reserved before it is written and kept in the transaction that first refers to it; what a crash leaves
in between, and what a deletion sets free, is swept later. Content-addressed objects are shared, so the sweep looks
for other rows that refer to the object while it holds the row that reservations have to pass.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from core.database import Database, insert_into
from core.errors import ServiceError, StorageUnavailable
from core.logging import get_logger
from core.storage import Storage
from core.storage.keys import BITSTREAMS, RECONSTRUCTIONS, REQUESTS, digest_in
from models.base import utc_now
from models.description_request import DescriptionRequest
from models.image import Image
from models.pending_deletion import PendingDeletion
from models.reconstruction import Reconstruction

_log = get_logger(__name__)

RESERVATION = timedelta(hours=1)
"""Longer than it takes to write an object and record it."""


def reserve(database: Database, key: str) -> None:
    """Announce that the object will be written and recorded within the hour. Waits for a sweep of the same object."""
    with database.write() as session:
        _postpone(session, key, utc_now() + RESERVATION)


def keep(session: Session, key: str) -> None:
    """The object is referred to from this transaction on. To be said before the row that refers to it is written.

    Raises StorageUnavailable when nothing kept the object until now: the hour was over (a machine that slept, a slow
    line), and a sweep may have taken it. Whoever stored it stores it again.
    """
    if not _release(session, key) and not session.scalar(select(_is_referred_to(key))):
        raise StorageUnavailable("An object was let go before it was recorded, since storing it took over an hour.")


def forget(session: Session, key: str) -> None:
    """The object was deleted before anything referred to it."""
    _release(session, key)


def discard(session: Session, key: str, *, shared: bool) -> None:
    """This transaction drops a reference. A shared object waits, since somebody may be about to refer to it."""
    _postpone(session, key, utc_now() + (RESERVATION if shared else timedelta(0)))


def _release(session: Session, key: str) -> bool:
    """True when there was a reservation."""
    found = session.execute(delete(PendingDeletion).where(PendingDeletion.key == key).returning(PendingDeletion.key))
    return found.first() is not None


def sweep(database: Database, storage: Storage, *, now: datetime | None = None, limit: int = 200) -> int:
    """Delete the loose objects that are due and that no row refers to; returns how many were deleted."""
    moment = now or utc_now()
    with database.read() as session:
        keys = list(
            session.scalars(
                select(PendingDeletion.key)
                .where(PendingDeletion.due_at <= moment)
                .order_by(PendingDeletion.due_at)
                .limit(limit)
            )
        )
    deleted = 0
    for key in keys:
        try:
            deleted += _sweep_one(database, storage, key, moment)
        except ServiceError as error:
            _log.warning("loose_object_not_deleted", key=key, code=error.code, error=str(error))
            if error.transient:
                # Each try may wait long, on SQLite with the only lock held; the next pass begins here.
                break
    if deleted:
        _log.info("loose_objects_deleted", count=deleted)
    return deleted


def _sweep_one(database: Database, storage: Storage, key: str, moment: datetime) -> bool:
    with database.write() as session:
        row = session.scalars(
            select(PendingDeletion)
            .where(PendingDeletion.key == key, PendingDeletion.due_at <= moment)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return False
        is_needed = session.scalar(select(_is_referred_to(key)))
        if not is_needed:
            storage.delete(key)
        session.delete(row)
        return not is_needed


def _postpone(session: Session, key: str, due_at: datetime) -> None:
    """Insert the row, or move its time to a later one; waits while a sweep holds it."""
    statement = insert_into(session, PendingDeletion).values(key=key, due_at=due_at)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[PendingDeletion.key],
            set_={"due_at": statement.excluded.due_at},
            where=PendingDeletion.due_at < statement.excluded.due_at,
        )
    )


def _is_referred_to(key: str) -> ColumnElement[bool]:
    if key.startswith(BITSTREAMS):
        return exists().where(Image.bitstream_sha256 == digest_in(key))
    if key.startswith(RECONSTRUCTIONS):
        return exists().where(Reconstruction.object_key == key)
    if key.startswith(REQUESTS):
        return exists().where(DescriptionRequest.object_key == key)
    return or_(exists().where(Image.original_key == key), exists().where(Image.reference_key == key))
