"""Cursor lists: newest first, a page at a time, stable while rows are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

RowT = TypeVar("RowT")

MAX_LIMIT = 200


@dataclass(frozen=True)
class Page(Generic[RowT]):
    """Rows, and the cursor of the next page or None when this is the last."""

    rows: Sequence[RowT]
    next_cursor: str | None


def newest_page(
    session: Session, query: Select[RowT], ids: InstrumentedAttribute[str], *, limit: int, before: str | None
) -> Page[RowT]:
    """A page of what `query` selects; `ids` grow with time, and `before` is the one that the last page ended with."""
    if before is not None:
        query = query.where(ids < before)
    rows = session.scalars(query.order_by(ids.desc()).limit(limit + 1)).all()
    next_cursor: str | None = getattr(rows[limit - 1], ids.key) if len(rows) > limit else None
    return Page(rows[:limit], next_cursor)
