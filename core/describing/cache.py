"""Database cache of paid model answers, with single-flight per key across processes; entries never expire."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import cast

from sqlalchemy import Table, bindparam, delete, or_, select, update

from codec.description import Description, Item
from codec.interruptible import wait
from codec.language_model import Answer
from codec.usage import Usage
from core.background import Periodic
from core.database import Database, insert_into
from core.errors import DatabaseUnavailable
from core.logging import get_logger
from models.base import JSONObject, new_id, utc_now
from models.cached_description import CachedDescription

_log = get_logger(__name__)

_TABLE = cast(Table, CachedDescription.__table__)
_GET = select(_TABLE.c.content).where(_TABLE.c.key == bindparam("of_key"))
_RENEW = (
    update(_TABLE)
    .where(_TABLE.c.buyer.in_(bindparam("buyers", expanding=True)), _TABLE.c.content.is_(None))
    .values(claimed_until=bindparam("until"))
)
_RELEASE = delete(_TABLE).where(
    _TABLE.c.key == bindparam("of_key"), _TABLE.c.buyer == bindparam("by"), _TABLE.c.content.is_(None)
)

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 1.0
"""How long a caller that waits for another's answer goes without looking: at first, and in the end."""

_STORE_ATTEMPTS = 6
"""How often an answer is written before it is given up, and with it the money; with the waits, about 30 seconds."""


class DescriptionCache:
    """One for a process, called from many threads; claims are renewed from `start` until `close`. The codec's
    AnswerCache."""

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

    def get(self, key: str) -> Answer | None:
        """The cached answer, if there is one; claims nothing."""
        rows = self._database.execute_alone(_GET, {"of_key": key})
        return _answer_of(rows[0][0]).as_cached() if rows and rows[0][0] is not None else None

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """The cached answer; or None, and then this caller buys it and must `store` it or `release` the claim.

        While another caller is buying it, waits. Raises Cancelled and DatabaseUnavailable.
        """
        pause_seconds = _FIRST_LOOK_SECONDS
        while True:
            answer = self.get(key)
            if answer is not None:
                return answer
            if self._claim_now(key):
                return None
            wait(pause_seconds, cancelled, "Stopped while another worker was buying the same description.")
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_LOOK_SECONDS)

    def store(self, key: str, answer: Answer) -> None:
        """Write the answer down for ever; of two answers the first stays. Raises DatabaseUnavailable in the end."""
        statement = insert_into(self._database.engine, _TABLE).values(
            key=key, content=_content_of(answer), created_at=utc_now()
        )
        statement = statement.on_conflict_do_update(
            index_elements=[_TABLE.c.key],
            set_={"content": statement.excluded.content, "buyer": None, "claimed_until": None},
            where=_TABLE.c.content.is_(None),
        )
        for attempt in range(1, _STORE_ATTEMPTS + 1):
            try:
                self._database.execute_alone(statement)
                break
            except DatabaseUnavailable as error:
                _log.warning("answer_not_kept", attempt=attempt, error=str(error))
                if attempt == _STORE_ATTEMPTS:
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

    def _claim_now(self, key: str) -> bool:
        """Insert the claim, or take over one that has ended; True when it is this caller's."""
        now = utc_now()
        buyer = new_id("buy")
        claim = insert_into(self._database.engine, _TABLE).values(
            key=key, buyer=buyer, claimed_until=now + self._lease, created_at=now
        )
        has_ended = or_(_TABLE.c.claimed_until.is_(None), _TABLE.c.claimed_until < now)
        claim = claim.on_conflict_do_update(
            index_elements=[_TABLE.c.key],
            set_={"buyer": claim.excluded.buyer, "claimed_until": claim.excluded.claimed_until},
            where=_TABLE.c.content.is_(None) & has_ended,
        )
        if not self._database.execute_alone(claim.returning(_TABLE.c.key)):
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


def _content_of(answer: Answer) -> JSONObject:
    """An answer as it is stored."""
    items = [{"name": item.name, "detail": item.detail} for item in answer.description.items]
    usage = asdict(answer.usage)
    del usage["cached"]
    content: JSONObject = {"items": items, "overall": answer.description.overall, "usage": usage}
    return content | {"notes": list(answer.notes)} if answer.notes else content


def _answer_of(content: JSONObject) -> Answer:
    items = tuple(Item(item["name"], item["detail"]) for item in content["items"])
    notes = tuple(content.get("notes", ()))
    return Answer(Description(items, content["overall"]), Usage(**content["usage"]), notes)
