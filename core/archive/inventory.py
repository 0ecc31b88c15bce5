"""What the storage should hold, in sums."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.stored_object import ObjectKind, StoredObject


class Holding(NamedTuple):
    """Objects of one kind, and their bytes together."""

    objects: int
    size_bytes: int


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
