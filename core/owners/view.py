"""Which rows a caller gets to see."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, literal

from models.owner import DEFAULT_OWNER, Owned


@dataclass(frozen=True)
class View:
    """The rows of one owner, or with None those of all. What is not in a caller's view does not exist to it."""

    owner: str | None

    def has(self, row: Owned) -> bool:
        """Whether a row is in the view."""
        return self.owner is None or row.owner == self.owner

    def conditions(self, table: type[Owned]) -> Sequence[ColumnElement[bool]]:
        """What a row of this table has to fulfil to be in the view."""
        if self.owner is None:
            return ()
        if self.owner == DEFAULT_OWNER:
            return (table.owner == self.owner,)
        # Written into the statement as it is, so that the planner can see that the index of other owners serves.
        default = literal(DEFAULT_OWNER, literal_execute=True)
        return (table.owner == self.owner, table.owner != default)


EVERYTHING = View(None)
"""What workers and operators see."""
