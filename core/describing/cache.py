"""The book of bought answers: each is kept for ever by its key, and one buyer at a time buys the answer of a key.

Holds over all processes, since it lies in the database. What an answer is, the caller knows: here it is JSON.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from sqlalchemy import Table, bindparam, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from codec.errors import Cancelled
from core.background import Periodic
from core.database import Database
from core.errors import DatabaseUnavailable
from core.logging import get_logger
from models.base import JSONObject, new_id, utc_now
from models.cached_description import CachedDescription

_log = get_logger(__name__)

_ANSWERS = cast(Table, CachedDescription.__table__)
_LOOK = select(_ANSWERS.c.content).where(_ANSWERS.c.key == bindparam("of_key"))
_RENEW = (
    update(_ANSWERS)
    .where(_ANSWERS.c.buyer.in_(bindparam("buyers", expanding=True)), _ANSWERS.c.content.is_(None))
    .values(claimed_until=bindparam("until"))
)
_RELEASE = delete(_ANSWERS).where(
    _ANSWERS.c.key == bindparam("of_key"), _ANSWERS.c.buyer == bindparam("by"), _ANSWERS.c.content.is_(None)
)

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 1.0
"""How long somebody who waits for another's answer goes without looking: at first, and in the end."""

_KEEP_ATTEMPTS = 6
"""How often an answer is written before it is given up, and with it the money; with the waits, about 30 seconds."""


class DescriptionCache:
    """One for a process, called from many threads; claims are renewed from `start` until `close`."""

    def __init__(self, database: Database, lease: timedelta) -> None:
        """A buyer that is silent for the lease is taken for dead, and another one may buy."""
        self._database, self._lease = database, lease
        self._buyers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._thread = Periodic("answer-claims", lease.total_seconds() / 5, self._renew)

    def start(self) -> None:
        """Begin to renew claims."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; claims that are still held end with their lease."""
        self._thread.close()

    def look(self, key: str) -> JSONObject | None:
        """The kept answer, if there is one; claims nothing."""
        rows = self._database.execute_alone(_LOOK, {"of_key": key})
        return rows[0][0] if rows else None

    def claim(self, key: str, cancelled: Callable[[], bool]) -> JSONObject | None:
        """The kept answer; or None, and then this caller is the one who buys it and must `keep` or `release`.

        While another caller is buying it, waits. Raises Cancelled and DatabaseUnavailable.
        """
        pause_seconds = _FIRST_LOOK_SECONDS
        while True:
            content = self.look(key)
            if content is not None:
                return content
            if self._claim_now(key):
                return None
            _wait(pause_seconds, cancelled)
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_LOOK_SECONDS)

    def keep(self, key: str, content: JSONObject) -> None:
        """Write the answer down for ever; of two answers the first stays. Raises DatabaseUnavailable in the end."""
        insert = postgresql.insert if self._is_postgresql else sqlite.insert
        statement = insert(_ANSWERS).values(key=key, content=content, created_at=utc_now())
        statement = statement.on_conflict_do_update(
            index_elements=[_ANSWERS.c.key],
            set_={"content": statement.excluded.content, "buyer": None, "claimed_until": None},
            where=_ANSWERS.c.content.is_(None),
        )
        for attempt in range(1, _KEEP_ATTEMPTS + 1):
            try:
                self._database.execute_alone(statement)
                break
            except DatabaseUnavailable as error:
                _log.warning("answer_not_kept", attempt=attempt, error=str(error))
                if attempt == _KEEP_ATTEMPTS:
                    raise
                time.sleep(2 ** (attempt - 1))
        self._forget(key)

    def release(self, key: str) -> None:
        """Give the claim up: nothing was bought. While the database is away it ends with its lease."""
        buyer = self._forget(key)
        try:
            self._database.execute_alone(_RELEASE, {"of_key": key, "by": buyer})
        except DatabaseUnavailable as error:
            _log.warning("answer_not_released", error=str(error))

    @property
    def _is_postgresql(self) -> bool:
        return self._database.engine.dialect.name == "postgresql"

    def _claim_now(self, key: str) -> bool:
        """Insert the claim, or take over one that has ended; True when it is ours."""
        now = utc_now()
        buyer = new_id("buy")
        insert = postgresql.insert if self._is_postgresql else sqlite.insert
        claim = insert(_ANSWERS).values(key=key, buyer=buyer, claimed_until=now + self._lease, created_at=now)
        has_ended = or_(_ANSWERS.c.claimed_until.is_(None), _ANSWERS.c.claimed_until < now)
        claim = claim.on_conflict_do_update(
            index_elements=[_ANSWERS.c.key],
            set_={"buyer": claim.excluded.buyer, "claimed_until": claim.excluded.claimed_until},
            where=_ANSWERS.c.content.is_(None) & has_ended,
        )
        if not self._database.execute_alone(claim.returning(_ANSWERS.c.key)):
            return False
        with self._lock:
            self._buyers[key] = buyer
        return True

    def _forget(self, key: str) -> str | None:
        with self._lock:
            return self._buyers.pop(key, None)

    def _renew(self) -> None:
        with self._lock:
            buyers = list(self._buyers.values())
        if buyers:
            self._database.execute_alone(_RENEW, {"buyers": buyers, "until": utc_now() + self._lease})


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while True:
        if cancelled():
            raise Cancelled("Stopped while another worker was buying the same description.")
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.2))
