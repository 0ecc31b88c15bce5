"""What the storage should hold: its catalogue, and sums of it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.archive.object_kinds import kind_of
from core.archive.packs import members
from core.database import insert_into
from models.base import utc_now
from models.pending_deletion import PendingDeletion
from models.stored_object import ObjectKind, StoredObject


class Holding(NamedTuple):
    """Objects of one kind, and their bytes together."""

    objects: int
    size_bytes: int


class Entry(NamedTuple):
    """An object that is stored; the size of a reference may be unknown."""

    key: str
    sha256: str
    size_bytes: int | None


def enter(session: Session, entries: Iterable[Entry]) -> None:
    """Note objects that are in storage already, and that rows of this transaction refer to; those noted stay, and
    those in packs."""
    new = list(entries)
    packed = members.living(session, (entry.key for entry in new))
    rows = [
        entry._asdict() | {"kind": kind_of(entry.key), "location": entry.key, "created_at": utc_now()}
        for entry in new
        if entry.key not in packed
    ]
    if rows:
        session.execute(insert_into(session, StoredObject).on_conflict_do_nothing(), rows)


def known(session: Session, keys: Iterable[str]) -> set[str]:
    """Those of the objects that are in the catalogue or in a pack, reserved or to be deleted."""
    wanted = list(keys)
    stored = select(StoredObject.key).where(StoredObject.key.in_(wanted))
    pending = select(PendingDeletion.key).where(PendingDeletion.key.in_(wanted))
    return set(session.scalars(stored.union(pending))) | members.living(session, wanted)


def intact_sizes(session: Session, keys: Iterable[str]) -> dict[str, int | None]:
    """Sizes of those that should be there, as objects or in packs, and were not found damaged, by key."""
    wanted = list(keys)
    query = select(StoredObject.key, StoredObject.size_bytes)
    query = query.where(StoredObject.key.in_(wanted), StoredObject.damaged_at.is_(None))
    sizes: dict[str, int | None] = {row.key: row.size_bytes for row in session.execute(query)}
    return sizes | members.sizes(session, wanted)


def holdings(session: Session) -> dict[ObjectKind, Holding]:
    """Objects by kind; reads the whole catalogue, so not for every scrape."""
    rows = session.execute(
        select(StoredObject.kind, func.count(), func.coalesce(func.sum(StoredObject.size_bytes), 0)).group_by(
            StoredObject.kind
        )
    )
    return {kind: Holding(count, int(size_bytes or 0)) for kind, count, size_bytes in rows}


def count_damaged(session: Session) -> int:
    """Objects that were found to have other bytes than they should."""
    query = select(func.count()).select_from(StoredObject).where(StoredObject.damaged_at.is_not(None))
    return session.scalar(query) or 0


def seconds_since_oldest_verification(session: Session) -> float:
    """For how long the object that was verified longest ago has not been; 0 where none was."""
    oldest = session.scalar(select(func.min(StoredObject.last_verified_at)))
    return 0.0 if oldest is None else max(0.0, (utc_now() - oldest).total_seconds())


class CatalogueEntry(NamedTuple):
    """An object that should be there: its key, where its bytes lie, and their SHA-256."""

    key: str
    location: str
    sha256: str


def catalogue(session: Session, *, key: str | None = None) -> Iterator[CatalogueEntry]:
    """Every object that should be there, or the one of this key."""
    query = select(StoredObject.key, StoredObject.location, StoredObject.sha256).order_by(StoredObject.key)
    if key is not None:
        query = query.where(StoredObject.key == key)
    return (CatalogueEntry(*row) for row in session.execute(query.execution_options(yield_per=1000)))
