"""Quotas and purses on SQLite: what 32 threads take together is what is allowed, and what is set aside comes back."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from codec.errors import BudgetExhausted
from core.database import Database
from core.describing.purse import OwnerLimiter, Purse
from core.owners import quotas
from core.owners.quotas import BILLION, Limits, QuotaReached, Usage
from core.settings import DatabaseSettings


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated_file, tmp_path / "misc.db")
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    yield database
    database.close()


def _limit(database: Database, **limits: int) -> None:
    with database.write() as session:
        quotas.set_limits(session, "alice", Limits(**limits))


def _usage(database: Database, owner: str = "alice") -> Usage:
    with database.read() as session:
        return quotas.standing_of(session, owner).usage


def _never() -> bool:
    return False


def _tries(function: Callable[[], Any], error: type[Exception], times: int) -> int:
    """How many of so many calls, 32 at a time, do not raise the error."""

    def _try(_: int) -> bool:
        try:
            function()
        except error:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        return sum(pool.map(_try, range(times)))


@pytest.mark.parametrize(("limits", "taken"), [({"pictures": 7}, 7), ({"bytes": 905}, 9), ({}, 64)])
def test_32_threads_take_no_more_than_is_allowed(database: Database, limits: dict[str, int], taken: int) -> None:
    _limit(database, **limits)

    def _charge() -> None:
        with database.write() as session:
            quotas.charge(session, "alice", 1, 100)

    assert _tries(_charge, QuotaReached, 64) == taken
    assert _usage(database) == Usage(taken, 100 * taken)
    assert _usage(database, "bob") == Usage()


def test_refusal_leaves_nothing_of_its_transaction(database: Database) -> None:
    _limit(database, pictures=1)
    with pytest.raises(QuotaReached, match="0 of 1 pictures") as refused, database.write() as session:
        quotas.charge(session, "alice", 2, 100)
    assert refused.value.standing is not None and 0 < refused.value.standing.seconds_left <= quotas.DAY_SECONDS
    assert _usage(database) == Usage()


def test_quota_of_nothing_takes_nothing(database: Database) -> None:
    _limit(database, pictures=0)
    with database.read() as session, pytest.raises(QuotaReached):
        quotas.check(session, "alice")


def test_yesterdays_usage_does_not_count(database: Database) -> None:
    _limit(database, pictures=1)
    with database.write() as session:
        session.execute(
            quotas.insert_into(session, quotas.DailyUsage).values(
                owner="alice", day="2000-01-01", pictures=9, bytes=9, spent=0, reserved=0
            )
        )
        assert quotas.charge(session, "alice", 1, 1).usage.pictures == 1


def test_money_that_is_set_aside_is_not_spent_twice(database: Database) -> None:
    _limit(database, money=BILLION)
    purse = Purse(database, "alice")

    def _buy() -> None:
        reserved = purse.reserve(0.1, _never)
        purse.settle(reserved, 0.05)

    assert _tries(_buy, BudgetExhausted, 40) >= 18
    usage = _usage(database)
    assert usage.reserved == 0 and 0.9 * BILLION <= usage.spent <= BILLION
    with pytest.raises(BudgetExhausted):
        purse.reserve(0.2, _never)


class _Limiter:
    """Refuses, or counts what is settled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.settled = error, []  # type: ignore[var-annotated]

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "_Limiter":
        if self.error is not None:
            raise self.error
        return self

    def pause(self, seconds: float) -> None:
        self.settled.append(seconds)

    def settle(self, tokens: int, cost: float) -> None:
        self.settled.append(cost)

    def cancel(self) -> None:
        self.settled.append(0.0)


def test_owner_pays_what_a_request_cost_and_nothing_for_one_that_was_not_sent(database: Database) -> None:
    purse, all_of_us = Purse(database, "alice"), _Limiter()
    permit = OwnerLimiter(all_of_us, purse).wait(10, 0.5, _never)
    assert _usage(database).reserved == BILLION // 2
    permit.settle(7, 0.25)
    OwnerLimiter(all_of_us, purse).wait(10, 0.5, _never).cancel()
    with pytest.raises(BudgetExhausted):
        OwnerLimiter(_Limiter(BudgetExhausted("all")), purse).wait(10, 0.5, _never)
    assert all_of_us.settled == [0.25, 0.0]
    assert _usage(database) == Usage(spent=BILLION // 4)
