"""A cap on what descriptions may cost in a period, kept in the database so that parallel workers cannot pass it.

The most that a request can cost is reserved before it is sent and replaced by what it did cost. A process that dies
in between leaves its reservation standing for the rest of the period: the request may have been paid for.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from codec.errors import BudgetExhausted
from codec.interruptible import wait
from core.database import Database, insert_into
from core.errors import DatabaseUnavailable
from core.logging import get_logger
from core.settings import LMMSettings, SpendingPeriod
from models.base import utc_now
from models.spending import Spending

_log = get_logger(__name__)

_BILLION = 1_000_000_000

_SETTLE_ATTEMPTS = 4

_SPENDING = cast(Table, Spending.__table__)
_RESERVE = (
    update(_SPENDING)
    .where(
        _SPENDING.c.period == bindparam("in_period"),
        _SPENDING.c.spent + _SPENDING.c.reserved + bindparam("amount") <= bindparam("cap"),
    )
    .values(reserved=_SPENDING.c.reserved + bindparam("amount"))
    .returning(_SPENDING.c.period)
)
_SETTLE = (
    update(_SPENDING)
    .where(_SPENDING.c.period == bindparam("in_period"))
    .values(
        reserved=_SPENDING.c.reserved - bindparam("amount"),
        spent=_SPENDING.c.spent + bindparam("actual"),
    )
)


def latest_spending(session: Session) -> list[tuple[str, float]]:
    """The latest period that money was spent in, with the amount; empty where no cap was ever set."""
    query = select(Spending.period, Spending.spent).order_by(Spending.period.desc()).limit(1)
    return [(period, spent / _BILLION) for period, spent in session.execute(query)]


@dataclass(frozen=True)
class Reservation:
    """Money that nobody else can spend. `amount` is in billionths."""

    period: str
    amount: int


class Budget:
    """A cap on spending in a period; one object a process, called from many threads."""

    def __init__(
        self, database: Database, cap: float, period: SpendingPeriod, *, longest_wait_seconds: float = 60.0
    ) -> None:
        """`cap` is in the currency of the prices; the longest wait should be that of a request for its answer."""
        self._database, self._period = database, period
        self._cap = math.floor(cap * _BILLION)
        self._longest_wait_seconds = longest_wait_seconds

    @classmethod
    def from_settings(cls, database: Database, lmm: LMMSettings) -> "Budget | None":
        """The budget of the spending cap; None without a cap."""
        if lmm.spending_cap is None:
            return None
        patience_seconds = lmm.timeout.total_seconds()
        return cls(database, lmm.spending_cap, lmm.spending_period, longest_wait_seconds=patience_seconds)

    def check(self, cost: float) -> None:
        """Raise BudgetExhausted when what is spent leaves no room for this cost; reserves nothing."""
        self._check(period_of(self._period, utc_now()), _billionths(cost))

    def reserve(self, cost: float, cancelled: Callable[[], bool]) -> Reservation:
        """Set the cost aside. Raises BudgetExhausted, Cancelled and DatabaseUnavailable.

        Where only the reservations of others are in the way, waits for them to be settled, since most cost less than
        was set aside.
        """
        amount = _billionths(cost)
        deadline = time.monotonic() + self._longest_wait_seconds
        pause_seconds = 0.05
        while True:
            period = period_of(self._period, utc_now())
            if self._reserve_now(period, amount):
                return Reservation(period, amount)
            self._check(period, amount)
            if time.monotonic() > deadline:
                raise _exhausted(self._cap, self._period)
            wait(pause_seconds, cancelled, "Stopped while waiting for money that others had set aside.")
            pause_seconds = min(pause_seconds * 1.5, 1.0)

    def settle(self, reservation: Reservation, cost: float) -> None:
        """Replace the reservation by what was truly spent. While the database is away the reservation stays."""
        values = {"in_period": reservation.period, "amount": reservation.amount, "actual": _billionths(cost)}
        for attempt in range(1, _SETTLE_ATTEMPTS + 1):
            try:
                self._database.execute_alone(_SETTLE, values)
                return
            except DatabaseUnavailable as error:
                _log.warning("spending_not_settled", attempt=attempt, error=str(error))
                if attempt < _SETTLE_ATTEMPTS:
                    time.sleep(0.5 * 2 ** (attempt - 1))

    def spent(self) -> tuple[float, float]:
        """What is spent and what is set aside in the present period, in the currency of the prices."""
        spent, reserved = self._read(period_of(self._period, utc_now()))
        return spent / _BILLION, reserved / _BILLION

    def _reserve_now(self, period: str, amount: int) -> bool:
        values = {"in_period": period, "amount": amount, "cap": self._cap}
        if self._database.execute_alone(_RESERVE, values):
            return True
        if amount > self._cap or not self._add_row(period):
            return False
        return bool(self._database.execute_alone(_RESERVE, values))

    def _add_row(self, period: str) -> bool:
        """Begin the period; False when it was begun before."""
        statement = insert_into(self._database.engine, _SPENDING).values(period=period, spent=0, reserved=0)
        return bool(self._database.execute_alone(statement.on_conflict_do_nothing().returning(_SPENDING.c.period)))

    def _check(self, period: str, amount: int) -> None:
        spent, _ = self._read(period)
        if spent + amount > self._cap:
            raise _exhausted(self._cap, self._period)

    def _read(self, period: str) -> tuple[int, int]:
        rows = self._database.execute_alone(
            select(_SPENDING.c.spent, _SPENDING.c.reserved).where(_SPENDING.c.period == period)
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)


def period_of(period: SpendingPeriod, moment: datetime) -> str:
    """The name of the period in which a moment (UTC) lies: 2026-11-22, 2026-11 or ever."""
    if period is SpendingPeriod.EVER:
        return "ever"
    return moment.strftime("%Y-%m-%d" if period is SpendingPeriod.DAY else "%Y-%m")


def _billionths(cost: float) -> int:
    return math.ceil(cost * _BILLION)


def _exhausted(cap: int, period: SpendingPeriod) -> BudgetExhausted:
    span = {SpendingPeriod.DAY: " for a day", SpendingPeriod.MONTH: " for a month", SpendingPeriod.EVER: ""}[period]
    return BudgetExhausted(
        f"The spending cap of {cap / _BILLION:g}{span} for descriptions is reached; raise MISC_LMM_SPENDING_CAP."
    )
