"""Whose turn it is in the decode engine: rules, held without threads, networks and clocks."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest

from codec.decode.engine.turns import Entry, Order, Priority, Turns, Urgency

RESTORER: Any = object()
MEGAPIXEL = 1_000_000
AT_ONCE = Urgency()


@dataclass
class State:
    """As much of a state as the choice looks at."""

    steps_total: int = 10
    steps_done: int = 0
    batch_key: Hashable = None
    seconds: dict[str, float] = field(default_factory=dict)
    failure: Exception | None = None


def entry(
    turns: Turns,
    pixels: int = MEGAPIXEL,
    *,
    joined: float = 0.0,
    key: Hashable = None,
    owner: str = "",
    urgency: Urgency = AT_ONCE,
) -> Any:
    made: Any = Entry(RESTORER, State(batch_key=key), Order(pixels, owner, lambda: urgency), joined)
    turns.add(made)
    return made


def next_ones(turns: Turns, now: float = 1.0, most: int = 16) -> list[Entry]:
    return turns.next(now, most)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def test_nothing_is_advanced_when_nobody_is_there(turns: Turns) -> None:
    assert next_ones(turns) == []


def test_request_that_is_nearly_done_goes_first(turns: Turns) -> None:
    large, small = entry(turns, 12 * MEGAPIXEL), entry(turns, MEGAPIXEL)
    assert next_ones(turns) == [small]
    large.state.steps_total, large.state.steps_done = 100, 99
    assert next_ones(turns) == [large]


def test_requests_with_one_key_are_advanced_together_up_to_the_most(turns: Turns) -> None:
    alike = [entry(turns, (number + 1) * MEGAPIXEL, key=(64, 64)) for number in range(5)]
    entry(turns, 9 * MEGAPIXEL, key=(96, 64))
    assert next_ones(turns, most=3) == alike[:3]
    assert next_ones(turns) == alike


def test_same_key_of_another_restorer_is_another_call(turns: Turns) -> None:
    first = entry(turns, key=(64, 64))
    other: Any = Entry(object(), State(batch_key=(64, 64)), Order(2 * MEGAPIXEL), 0.0)
    turns.add(other)
    assert next_ones(turns) == [first]


def test_owners_get_equal_shares_however_many_requests_they_have(turns: Turns) -> None:
    for _ in range(20):
        entry(turns, MEGAPIXEL, owner="many")
    entry(turns, 50 * MEGAPIXEL, owner="one")
    served = {"many": 0, "one": 0}
    for turn in range(40):
        (chosen,) = next_ones(turns)
        served[chosen.order.owner] += 1
        turns.charge([chosen], 0.1, 0.1 * MEGAPIXEL, now=turn * 0.1)
    assert served == {"many": 20, "one": 20}


def test_owner_who_comes_later_is_not_owed_the_time_before(turns: Turns) -> None:
    first = entry(turns, owner="first")
    turns.charge([first], 100.0, MEGAPIXEL, now=0.0)
    late = entry(turns, owner="late")
    turns.charge([late], 1.0, MEGAPIXEL, now=0.0)
    assert next_ones(turns) == [first]


def test_bulk_waits_for_interactive_requests_but_not_for_ever(turns: Turns) -> None:
    bulk = entry(turns, 1, urgency=Urgency(Priority.BULK))
    interactive = entry(turns, 12 * MEGAPIXEL, joined=50.0)
    assert next_ones(turns, now=51.0) == [interactive]
    assert next_ones(turns, now=60.5) == [bulk]
    turns.charge([bulk], 0.1, 1, now=60.5)
    assert next_ones(turns, now=60.6) == [interactive]


def test_large_request_gets_a_step_now_and_then_behind_many_small_ones(turns: Turns) -> None:
    large = entry(turns, 12 * MEGAPIXEL)
    steps_of_large, now = 0, 0.0
    for _ in range(300):
        small = entry(turns, MEGAPIXEL // 10, joined=now)
        (chosen,) = next_ones(turns, now)
        now += 0.1
        turns.charge([chosen], 0.1, 1, now)
        steps_of_large += chosen is large
        turns.remove(small if chosen is small else chosen)
        if chosen is large:
            turns.add(large)
            turns.remove(small)
    assert steps_of_large == 2


def test_deadline_that_can_still_be_kept_goes_before_shorter_work(turns: Turns) -> None:
    short = entry(turns, MEGAPIXEL)
    turns.charge([short], 1.0, MEGAPIXEL, now=0.0)
    urgent = entry(turns, 10 * MEGAPIXEL, urgency=Urgency(deadline=16.0))
    assert next_ones(turns, now=1.0) == [urgent]
    assert next_ones(turns, now=8.0) == [short]  # it is too late for the other one


def test_urgency_that_was_raised_counts_from_the_next_step_on(turns: Turns) -> None:
    priorities = [Priority.BULK]
    raised: Any = Entry(RESTORER, State(), Order(12 * MEGAPIXEL, urgency=lambda: Urgency(priorities[-1])), 0.0)
    turns.add(raised)
    other = entry(turns, 13 * MEGAPIXEL)
    assert next_ones(turns) == [other]
    priorities.append(Priority.INTERACTIVE)
    assert next_ones(turns) == [raised]


def test_request_that_left_is_chosen_no_more(turns: Turns) -> None:
    gone = entry(turns)
    turns.remove(gone)
    turns.remove(gone)
    assert (len(turns), next_ones(turns)) == (0, [])
