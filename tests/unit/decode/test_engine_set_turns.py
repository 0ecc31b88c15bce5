"""Sets of networks take turns: no two at a time, no eviction while others want the present one, and nobody starves."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from codec.decode.engine.set_turns import SetTurns
from codec.errors import Cancelled


def never() -> bool:
    return False


def test_requests_for_one_set_use_it_together() -> None:
    turns, together = SetTurns(), threading.Barrier(3)

    def _use() -> None:
        with turns.take("lite", never):
            together.wait(10)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(_use) for _ in range(3)]:
            future.result(10)


def test_two_sets_are_never_used_at_once_and_change_seldom() -> None:
    turns, lock, seen, inside = SetTurns(), threading.Lock(), [], {"lite": 0, "sd21": 0}

    def _use(key: str) -> None:
        with turns.take(key, never):
            with lock:
                inside[key] += 1
                assert not all(inside.values())
                seen.append(key)
            time.sleep(0.002)
            with lock:
                inside[key] -= 1

    with ThreadPoolExecutor(40) as pool:
        futures = [pool.submit(_use, key) for key in ("lite", "sd21") * 20]
        for future in futures:
            future.result(10)
    assert len(seen) == 40
    assert sum(left != right for left, right in itertools.pairwise(seen)) <= 6


def test_set_that_was_waited_for_long_goes_before_newcomers() -> None:
    turns, order = SetTurns(patience_seconds=0.05), []
    first_may_end = threading.Event()

    def _use(name: str, key: str, may_end: threading.Event | None = None) -> None:
        with turns.take(key, never):
            order.append(name)
            if may_end is not None:
                may_end.wait(10)

    with ThreadPoolExecutor(3) as pool:
        pool.submit(_use, "first", "lite", first_may_end)
        time.sleep(0.02)
        other = pool.submit(_use, "other", "sd21")
        time.sleep(0.1)
        late = pool.submit(_use, "late", "lite")
        time.sleep(0.05)
        assert order == ["first"]
        first_may_end.set()
        other.result(10), late.result(10)
    assert order == ["first", "other", "late"]


def test_waiting_ends_when_nobody_wants_the_picture_any_more() -> None:
    turns = SetTurns()
    with turns.take("lite", never), pytest.raises(Cancelled), turns.take("sd21", lambda: True):
        pass
    with turns.take("sd21", never):
        pass
