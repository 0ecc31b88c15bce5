"""Who gets the next place in the decode engine's memory."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from codec.decode.engine import places as places_module
from codec.decode.engine.places import Places
from codec.decode.engine.turns import Priority, Urgency

ALL = 100
BULK = Urgency(Priority.BULK)


def _order_of(*urgencies: Callable[[], Urgency], while_waiting: Callable[[], None] = lambda: None) -> list[int]:
    """In which order requests get places that came in this one while all were taken."""
    places, order = Places(ALL), []

    def _use(number: int) -> None:
        with places.take(ALL, lambda: False, urgencies[number]):
            order.append(number)

    with ThreadPoolExecutor(len(urgencies) + 1) as pool, places.take(ALL, lambda: False):
        for number in range(len(urgencies)):
            pool.submit(_use, number)
            while len(places._waiting) <= number:
                time.sleep(0.001)
        while_waiting()
    return order


def test_interactive_requests_go_before_bulk_ones_and_those_of_one_priority_in_turn() -> None:
    assert _order_of(lambda: BULK, Urgency, lambda: BULK, Urgency) == [1, 3, 0, 2]


def test_earliest_deadline_goes_first_within_its_priority_and_one_that_is_past_hurries_nothing() -> None:
    now = time.monotonic()
    late, early, past = (Urgency(deadline=now + seconds) for seconds in (600, 300, -1))
    urgent_bulk = Urgency(Priority.BULK, now + 60)
    given = (Urgency, lambda: late, lambda: past, lambda: early, lambda: urgent_bulk)
    assert _order_of(*given) == [3, 1, 0, 2, 4]


def test_who_waited_long_goes_before_all_who_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "_PATIENCE_SECONDS", 0.01)
    order = _order_of(lambda: BULK, Urgency, while_waiting=lambda: time.sleep(0.05))
    assert order == [0, 1]


def test_request_that_somebody_comes_to_wait_for_overtakes_while_it_waits() -> None:
    urgencies = [BULK]
    order = _order_of(lambda: BULK, lambda: urgencies[-1], while_waiting=lambda: urgencies.append(Urgency()))
    assert order == [1, 0]
