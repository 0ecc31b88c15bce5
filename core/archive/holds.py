"""Holds: what somebody reads for long is deleted when that is over, and not before."""

import time
from collections.abc import Sequence

from sqlalchemy import delete, select, update

from core.archive.object_kinds import is_referred_to
from core.archive.object_lifecycle import RESERVATION, reserve_each
from core.database import Database
from models.base import utc_now
from models.pending_deletion import PendingDeletion

_RENEWAL_SECONDS = RESERVATION.total_seconds() / 3


class Hold:
    """A hold on some objects, by reservations like those of objects that are written. `end` gives them back; those of a
    process that died are over within the hour."""

    def __init__(self, database: Database, keys: Sequence[str]) -> None:
        self._database, self._keys = database, keys
        self._renewed_at = float("-inf")
        self.renew()

    def renew(self) -> None:
        """To be called now and then; costs nothing unless it is time."""
        if self._keys and time.monotonic() > self._renewed_at + _RENEWAL_SECONDS:
            reserve_each(self._database, self._keys)
            self._renewed_at = time.monotonic()

    def end(self) -> None:
        """Let those go that nothing refers to any more."""
        for key in self._keys:
            is_ours = (PendingDeletion.key == key) & PendingDeletion.blocked_until.is_(None)
            with self._database.write() as session:
                if session.scalar(select(is_referred_to(key))):
                    session.execute(delete(PendingDeletion).where(is_ours))
                else:
                    session.execute(update(PendingDeletion).where(is_ours).values(due_at=utc_now()))
