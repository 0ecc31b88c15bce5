"""Looks keys up for every request, and remembers for a second what it found."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import exists, or_, select

from core.clock import database_now
from core.database import Database
from core.owners.caller import Caller
from core.owners.scope import Scope
from models.api_key import APIKey

_REMEMBERED_SECONDS = 1.0
"""How long what the database said of a key is taken for granted: so soon a revoked one stops."""

_MOST_REMEMBERED = 10_000
"""Each costs some hundred bytes; who tries random keys must not fill the memory."""


@dataclass(frozen=True)
class Entry:
    """What the database says of a key: its caller, and whether keys are in use at all."""

    caller: Caller | None
    keys_are_in_use: bool


class KeyBook:
    """One for a process, called from many threads."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._entries: dict[str, tuple[float, Entry]] = {}
        self._lock = threading.Lock()

    def recall(self, sha256: str) -> Entry | None:
        """What was found within the last second; None makes it necessary to look."""
        found = self._entries.get(sha256)
        return found[1] if found is not None and self._clock() - found[0] < _REMEMBERED_SECONDS else None

    def look_up(self, sha256: str) -> Entry:
        """Ask the database; an empty digest asks whether keys are in use. Raises DatabaseUnavailable."""
        asked_at = self._clock()
        with self._database.read() as session:
            row = session.execute(
                select(APIKey.owner, APIKey.scopes).where(
                    APIKey.sha256 == sha256,
                    APIKey.revoked_at.is_(None),
                    or_(APIKey.expires_at.is_(None), APIKey.expires_at > database_now()),
                )
            ).one_or_none()
            are_in_use = row is not None or bool(session.scalar(select(exists(select(APIKey.id)))))
        caller = None if row is None else Caller(row[0], frozenset(scope for scope in Scope if scope in row[1]), sha256)
        entry = Entry(caller, are_in_use)
        with self._lock:
            if len(self._entries) >= _MOST_REMEMBERED:
                self._entries.clear()
            self._entries[sha256] = (asked_at, entry)
        return entry

    def still_knows(self, caller: Caller) -> bool:
        """Whether the caller's key is still good; raises DatabaseUnavailable."""
        if caller.key_sha256 is None:
            return True
        entry = self.recall(caller.key_sha256) or self.look_up(caller.key_sha256)
        return entry.caller == caller
