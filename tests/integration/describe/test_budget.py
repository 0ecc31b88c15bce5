"""The spending cap on SQLite and PostgreSQL: parallel requests never pass it, and settling gives back what was left."""

import threading
from datetime import UTC, datetime

import pytest

from codec.errors import BudgetExhausted, Cancelled
from core.database import Database
from core.describing.budget import Budget, period_of
from core.describing.rate_limit import RedisRateLimiter
from core.settings import BrokerSettings, SpendingPeriod


def _ledger(database: Database, cap: float, patience: float = 0.2) -> Budget:
    return Budget(database, cap, SpendingPeriod.DAY, longest_wait_seconds=patience)


def _never() -> bool:
    return False


def test_forty_parallel_requests_never_pass_the_cap(database: Database) -> None:
    ledgers = [_ledger(database, 1.0), _ledger(database, 1.0)]
    start = threading.Barrier(40)
    paid: list[float] = []
    refused: list[BudgetExhausted] = []

    def _buy(ledger: Budget) -> None:
        start.wait()
        try:
            reserved = ledger.reserve(0.1, _never)
        except BudgetExhausted as error:
            refused.append(error)
            return
        ledger.settle(reserved, 0.1)
        paid.append(0.1)

    threads = [threading.Thread(target=_buy, args=(ledgers[index % 2],)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(paid), len(refused)) == (10, 30)
    assert ledgers[0].spent() == (pytest.approx(1.0), 0.0)
    assert "MISC_LMM_SPENDING_CAP" in str(refused[0])


def test_reservations_count_until_they_are_settled_and_give_back_what_was_left(database: Database) -> None:
    ledger = _ledger(database, 1.0)
    first = ledger.reserve(0.8, _never)
    with pytest.raises(BudgetExhausted):
        ledger.reserve(0.8, _never)
    ledger.settle(first, 0.1)
    assert ledger.spent() == (pytest.approx(0.1), 0.0)
    ledger.settle(ledger.reserve(0.8, _never), 0.0)
    assert ledger.spent() == (pytest.approx(0.1), 0.0)


def test_request_waits_for_the_reservations_of_others(database: Database) -> None:
    ledger = _ledger(database, 1.0, patience=20)
    first = ledger.reserve(0.9, _never)
    threading.Timer(0.4, ledger.settle, (first, 0.05)).start()
    second = ledger.reserve(0.9, _never)
    assert ledger.spent() == (pytest.approx(0.05), pytest.approx(0.9))
    ledger.settle(second, 0.0)


def test_waiting_for_others_can_be_cancelled(database: Database) -> None:
    ledger = _ledger(database, 1.0, patience=60)
    ledger.reserve(0.9, _never)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Cancelled):
        ledger.reserve(0.9, stop.is_set)


def test_request_that_costs_more_than_the_cap_is_refused(database: Database) -> None:
    with pytest.raises(BudgetExhausted):
        _ledger(database, 0.01).reserve(0.02, _never)


def test_exhausted_budget_is_told_before_any_waiting_and_leaves_nothing_reserved(
    database: Database, broker_settings: BrokerSettings
) -> None:
    ledger = _ledger(database, 1.0)
    pace = RedisRateLimiter(broker_settings, "name", requests_per_minute=2, budget=ledger)
    pace.wait(1, 0.4, _never).settle(1, 0.4)
    pace.wait(1, 0.4, _never).cancel()
    assert ledger.spent() == (pytest.approx(0.4), 0.0)
    with pytest.raises(BudgetExhausted):
        pace.wait(1, 0.7, _never)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        pace.wait(1, 0.4, stop.is_set)
    assert ledger.spent() == (pytest.approx(0.4), 0.0)


def test_periods_are_those_of_utc() -> None:
    moment = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    names = [period_of(period, moment) for period in SpendingPeriod]
    assert names == ["2026-11-22", "2026-11", "ever"]
