"""Cursor lists: newest first, a page at a time, stable while rows are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

RowT = TypeVar("RowT")

MAX_LIMIT = 200


@dataclass(frozen=True)
class Page(Generic[RowT]):
    """Rows, and the cursor of the next page or None when this is the last."""

    rows: Sequence[RowT]
    next_cursor: str | None
