"""Whose a row is: what images, jobs, batches and reconstructions have in common."""

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

DEFAULT_OWNER = "default"
"""The owner where no keys are configured, and of the keys that the settings name."""

OWNER_LENGTH = 64


class Owned:
    """A row that belongs to the owner in whose name it was made, for ever."""

    owner: Mapped[str] = mapped_column(String(OWNER_LENGTH), default=DEFAULT_OWNER, server_default=DEFAULT_OWNER)


def owner_index(table: str) -> Index:
    """Lists one owner's rows, newest first.

    The default owner's are left out: who works in its name sees the rows of all, and a service with no other owner
    pays nothing for the index.
    """
    is_other = text(f"owner <> '{DEFAULT_OWNER}'")
    return Index(f"ix_{table}_owner", "owner", "id", postgresql_where=is_other, sqlite_where=is_other)
