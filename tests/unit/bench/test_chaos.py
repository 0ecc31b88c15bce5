"""Plan, orders and figures of the chaos harness."""

import itertools

import pytest

from bench.chaos.checks import Verdict, _check_ends
from bench.chaos.faults import FAULTS
from bench.chaos.ledger import Ledger, Order, make_orders
from bench.chaos.plan import PlannedFault, make_plan
from bench.chaos.run import Blow, _measure


def _job(state: str, code: str | None = None) -> dict[str, object]:
    return {"state": state, "attempts": 1, "error": code and {"code": code}}


def _accepted(ledger: Ledger, key: str, accepted_at: float, ended_at: float | None, **values: bool) -> Order:
    order = Order(key, {}, **values)
    ledger.add(order)
    ledger.accept(order, f"job-{key}", 0.1)
    order.accepted_at, order.ended_at = accepted_at, ended_at
    return order


def test_same_seed_gives_the_same_plan_and_orders() -> None:
    assert make_plan(60, 7, list(FAULTS)) == make_plan(60, 7, list(FAULTS))
    assert make_plan(60, 7, list(FAULTS)) != make_plan(60, 8, list(FAULTS))
    assert make_orders(50, 7) == make_orders(50, 7)


def test_a_plan_has_every_kind_before_one_comes_again() -> None:
    plan = make_plan(40, 3, list(FAULTS))
    assert {fault.kind for fault in plan[: len(FAULTS)]} == set(FAULTS)
    assert len({fault.kind for fault in plan}) >= 14


def test_a_long_plan_has_the_store_away_for_five_minutes_once() -> None:
    assert [fault.seconds for fault in make_plan(40, 3, list(FAULTS))].count(300.0) == 1
    assert max(fault.seconds for fault in make_plan(10, 3, list(FAULTS))) < 60


def test_some_pictures_are_sent_twice_and_every_order_has_its_own_key() -> None:
    orders = make_orders(200, 1)
    assert len({order.key for order in orders}) == 200
    assert 5 <= 200 - len({order.seed for order in orders}) <= 40
    assert any(order.decode_options is not None for order in orders)
    assert len({order.picture_file() for order in orders[:20]}) == len({order.seed for order in orders[:20]})


def test_only_poison_may_fail() -> None:
    ledger, verdict = Ledger(), Verdict()
    for number, (state, code, is_poison) in enumerate(
        [("succeeded", None, False), ("failed", "worker_lost", True), ("failed", "worker_lost", False)]
    ):
        order = Order(f"order-{number}", {}, is_poison=is_poison)
        ledger.add(order)
        ledger.accept(order, f"job-{number}", 0.1)
        ledger.end(order, _job(state, code))
    _check_ends(ledger, verdict)
    assert verdict.summary == "0 lost, 0 wrong, 0 stuck, 0 orphans, 1 failed but poison"
    assert not verdict.is_clean


def test_an_accepted_order_that_has_not_ended_is_stuck() -> None:
    ledger, verdict = Ledger(), Verdict()
    _accepted(ledger, "a", 1.0, None)
    _check_ends(ledger, verdict)
    assert len(verdict.stuck) == 1


def test_an_order_that_is_answered_with_two_jobs_is_noted() -> None:
    ledger = Ledger()
    order = _accepted(ledger, "a", 1.0, None)
    ledger.accept(order, "another", 0.1)
    assert len(ledger.unexpected) == 1


@pytest.mark.parametrize("is_poison", [False, True])
def test_recovery_lasts_until_all_that_was_open_has_ended(is_poison: bool) -> None:
    ledger = Ledger()
    _accepted(ledger, "before", 1.0, 4.0)
    _accepted(ledger, "open", 2.0, 12.5)
    _accepted(ledger, "later", 11.0, 30.0)
    _accepted(ledger, "poison", 2.0, 99.0, is_poison=is_poison)
    blow = Blow(PlannedFault("kill-encode", 0, 0), 5.0, 10.0, 0)
    _measure([blow], ledger)
    assert (blow.recovery_seconds, blow.waiting) == ((2.5, 1) if is_poison else (89.0, 2))


def test_every_kind_has_a_title_and_lasts_not_longer_than_half_a_minute() -> None:
    assert all(fault.title for fault in FAULTS.values())
    assert all(0 <= low <= high <= 30 for low, high in (fault.seconds for fault in FAULTS.values()))
    assert all(len(kind) <= 24 and kind == kind.lower() for kind in itertools.chain(FAULTS))
