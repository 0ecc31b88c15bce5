"""An owner's money of a day for descriptions: set aside before a request is sent, and counted when it is answered."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from codec.errors import BudgetExhausted
from codec.interruptible import wait
from codec.language_model import Permit, RateLimiter
from core.database import Database
from core.errors import DatabaseUnavailable
from core.logging import get_logger
from core.owners import quotas
from models.base import utc_now
from models.owner import DEFAULT_OWNER

_log = get_logger(__name__)

_SETTLE_ATTEMPTS = 4

_LONGEST_WAIT_SECONDS = 60.0
"""For money that the owner's other requests have set aside; most cost less, so that some of it comes back."""


@dataclass(frozen=True)
class Reserved:
    """Money that the owner's other requests cannot spend; `amount` is in billionths."""

    day: str
    amount: int


class Purse:
    """What one owner may still spend today; used by many threads, and by many processes at once."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database, self._owner = database, owner

    def check(self, cost: float) -> None:
        """Raise BudgetExhausted when what is spent leaves no room for this cost; reserves nothing."""
        with self._database.read() as session:
            standing = quotas.standing_of(session, self._owner)
        limit = standing.limits.money
        if limit is not None and standing.usage.spent + quotas.billionths(cost) > limit:
            raise BudgetExhausted("The owner's quota of money for descriptions is used up for today (UTC).")

    def reserve(self, cost: float, cancelled: Callable[[], bool]) -> Reserved:
        """Set the cost aside. Raises BudgetExhausted, Cancelled and DatabaseUnavailable."""
        amount = quotas.billionths(cost)
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        pause_seconds = 0.05
        while True:
            day = quotas.day_of(utc_now())
            with self._database.write() as session:
                if quotas.reserve_money(session, self._owner, day, amount):
                    return Reserved(day, amount)
            self.check(cost)
            if time.monotonic() > deadline:
                raise BudgetExhausted("The owner's other requests have set the money of today's quota aside.")
            wait(pause_seconds, cancelled, "Stopped while waiting for money that others had set aside.")
            pause_seconds = min(pause_seconds * 1.5, 1.0)

    def settle(self, reserved: Reserved, cost: float) -> None:
        """Replace what was set aside by what was truly spent. While the database is away it stays set aside."""
        for attempt in range(1, _SETTLE_ATTEMPTS + 1):
            try:
                with self._database.write() as session:
                    quotas.settle_money(session, self._owner, reserved.day, reserved.amount, quotas.billionths(cost))
                return
            except DatabaseUnavailable as error:
                _log.warning("owner_spending_not_settled", attempt=attempt, error=str(error))
                if attempt < _SETTLE_ATTEMPTS:
                    time.sleep(0.5 * 2 ** (attempt - 1))


def salt_of(owner: str) -> str:
    """What parts an owner's answers from those of others; nothing for the default owner, who has those of before."""
    return "" if owner == DEFAULT_OWNER else owner


class OwnerLimiter:
    """The limits of all, after the owner's own money. The codec's RateLimiter."""

    def __init__(self, limiter: RateLimiter, purse: Purse) -> None:
        self._limiter, self._purse = limiter, purse

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> Permit:
        """See RateLimiter."""
        reserved = self._purse.reserve(cost, cancelled)
        try:
            return _OwnerPermit(self._limiter.wait(tokens, cost, cancelled), self._purse, reserved)
        except BaseException:
            self._purse.settle(reserved, 0.0)
            raise

    def pause(self, seconds: float) -> None:
        """See RateLimiter."""
        self._limiter.pause(seconds)


class _OwnerPermit:
    def __init__(self, permit: Permit, purse: Purse, reserved: Reserved) -> None:
        self._permit, self._purse, self._reserved = permit, purse, reserved

    def settle(self, tokens: int, cost: float) -> None:
        self._permit.settle(tokens, cost)
        self._purse.settle(self._reserved, cost)

    def cancel(self) -> None:
        self._permit.cancel()
        self._purse.settle(self._reserved, 0.0)
