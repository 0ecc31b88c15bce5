"""Sweeps: deletes the objects that are due and that no row refers to; see `core.archive.object_lifecycle`.

Nobody's object is deleted under them, because

- a claim needs the lock of the row that reservations and retentions change, and looks for references under that lock;
- a reservation of a claimed key waits until the claim is gone, or is refused, so that nothing is written meanwhile;
- `retain` takes a reservation only if it was not claimed: a process that slept past its reservation has to store the
  object again, and does not refer to one whose deletion is under way.

A deletion without an answer (`StorageUnavailable`, a killed sweep) may still be carried out later, after another one of
the same key succeeded. Its key therefore stays blocked for longer than a signed request is accepted by a store, and a
sweep that was suspended between claim and deletion gives up. An object that comes back within that time is refused with
`StorageUnavailable`, which is tried again, where it would have been lost.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core.archive.object_kinds import is_referred_to
from core.archive.object_lifecycle import LONGEST_DELAY, RESERVATION
from core.archive.packs import members
from core.database import Database
from core.errors import ObjectRetained, ServiceError, StorageUnavailable
from core.logging import get_logger
from core.storage import Storage
from models.base import new_id, utc_now
from models.pending_deletion import PendingDeletion
from models.stored_object import StoredObject

_log = get_logger(__name__)

_CLAIM_AGE = timedelta(minutes=2)
"""A claim older than this when its deletion is to be sent was held by a suspended machine."""

_PUT_OFF = timedelta(hours=1)
"""When a row that cannot be swept is tried again."""

_HELD_FOR = timedelta(days=1)
"""When an object is tried again that a lock holds without an end, as a legal hold does."""


@dataclass(frozen=True)
class _Deletion:
    """A claimed deletion. `uncertain_until` is set while an earlier one of this key may still be on its way."""

    key: str
    token: str
    claimed_at: datetime
    uncertain_until: datetime | None


def remove(database: Database, storage: Storage, key: str) -> None:
    """Delete an object that was reserved and that nothing came to refer to, without waiting for the next sweep."""
    moment = utc_now()
    _delete_unreferenced(database, storage, key, moment, due_by=moment + RESERVATION)


@dataclass(frozen=True)
class Retained:
    """Deletions that locks of the store refused: how many, and when the first of them is tried again."""

    objects: int
    next_at: datetime | None


def retained(session: Session) -> Retained:
    """What locks hold in storage, though nothing refers to it any more."""
    query = select(func.count(), func.min(PendingDeletion.due_at)).where(PendingDeletion.retained_at.is_not(None))
    return Retained(*session.execute(query).one())


def sweep(database: Database, storage: Storage, *, now: datetime | None = None, limit: int = 200) -> int:
    """Delete the objects that are due and that no row refers to; returns how many were deleted."""
    moment = now or utc_now()
    with database.read() as session:
        keys = session.scalars(
            select(PendingDeletion.key)
            .where(PendingDeletion.due_at <= moment, _is_unclaimed(moment))
            # A key whose deletion failed before comes last, so that it holds up no other.
            .order_by(PendingDeletion.blocked_until.is_not(None), PendingDeletion.due_at)
            .limit(limit)
        ).all()
    deleted = 0
    for key in keys:
        try:
            deleted += _delete_unreferenced(database, storage, key, moment, due_by=moment)
        except ServiceError as error:
            _log.warning("object_not_deleted", key=key, code=error.code, error=str(error))
            if error.transient:
                # Each attempt may wait long, and the others would fail alike; the next pass goes on.
                break
        except Exception:  # noqa: BLE001 - a row that nobody foresaw holds up no other
            _log.exception("object_not_deleted", key=key)
            _put_off(database, key, moment + _PUT_OFF)
    if deleted:
        _log.info("objects_deleted", count=deleted)
    return deleted


def _put_off(database: Database, key: str, due_at: datetime) -> None:
    """Let the others go first: as many bad rows as a pass looks at would else be all that it sees."""
    database.execute_alone(update(PendingDeletion).where(PendingDeletion.key == key).values(due_at=due_at))


def _delete_unreferenced(database: Database, storage: Storage, key: str, moment: datetime, *, due_by: datetime) -> bool:
    """Claim, delete, end the claim; False when there was nothing to delete. Raises what `Storage.delete` raises."""
    deletion = _claim(database, key, moment, due_by)
    if deletion is None or utc_now() - deletion.claimed_at > _CLAIM_AGE:
        return False
    try:
        storage.delete(key)
    except StorageUnavailable:
        _release(database, deletion, blocked_until=moment + LONGEST_DELAY)
        raise
    except ObjectRetained as error:
        again_at = max(moment + _PUT_OFF, error.until or moment + _HELD_FOR)
        _release(database, deletion, due_at=again_at, retained_at=utc_now())
        raise
    except ServiceError:
        # The others go first: as many bad rows as a pass looks at would else be all that it sees.
        _release(database, deletion, due_at=moment + _PUT_OFF)
        raise
    _end(database, deletion)
    return True


def _claim(database: Database, key: str, moment: datetime, due_by: datetime) -> _Deletion | None:
    claimed_at = utc_now()
    with database.write() as session:
        row = session.scalars(
            select(PendingDeletion)
            .where(PendingDeletion.key == key, PendingDeletion.due_at <= due_by, _is_unclaimed(moment))
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        is_needed = session.scalar(select(is_referred_to(key)))
        if is_needed and members.holder_of(session, key) == key:
            session.delete(row)
            return None
        if not is_needed:
            members.forget(session, key)
        is_uncertain = row.blocked_until is not None and row.blocked_until > moment
        deletion = _Deletion(key, new_id("del"), claimed_at, row.blocked_until if is_uncertain else None)
        row.deletion_token, row.blocked_until = deletion.token, moment + LONGEST_DELAY
        session.execute(delete(StoredObject).where(StoredObject.key == key))
        return deletion


def _release(database: Database, deletion: _Deletion, **values: datetime) -> None:
    """Leave the object to a later sweep; its key stays blocked by an earlier deletion, unless `values` say longer."""
    released: dict[str, datetime | None] = {"deletion_token": None, "blocked_until": deletion.uncertain_until}
    with database.write() as session:
        session.execute(update(PendingDeletion).where(_is_claimed_by(deletion)).values(**released | values))


def _end(database: Database, deletion: _Deletion) -> None:
    with database.write() as session:
        if deletion.uncertain_until is None:
            session.execute(delete(PendingDeletion).where(_is_claimed_by(deletion)))
            return
        # The row only keeps the key blocked now.
        session.execute(
            update(PendingDeletion)
            .where(_is_claimed_by(deletion))
            .values(deletion_token=None, blocked_until=deletion.uncertain_until, due_at=deletion.uncertain_until)
        )


def _is_unclaimed(moment: datetime) -> ColumnElement[bool]:
    return or_(PendingDeletion.deletion_token.is_(None), PendingDeletion.blocked_until <= moment)


def _is_claimed_by(deletion: _Deletion) -> ColumnElement[bool]:
    return (PendingDeletion.key == deletion.key) & (PendingDeletion.deletion_token == deletion.token)
