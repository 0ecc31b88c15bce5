"""Threads that every process keeps go on after an error."""

import threading
import time

from core.background import MicroBatcher, Periodic
from core.errors import DatabaseUnavailable


def test_periodic_thread_goes_on_after_errors_of_both_kinds() -> None:
    calls: list[int] = []
    enough = threading.Event()

    def _act() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise DatabaseUnavailable("away for a moment")
        if len(calls) == 2:
            raise ZeroDivisionError("a defect")
        enough.set()

    thread = Periodic("test", 0.01, _act)
    thread.start()
    assert enough.wait(5)
    thread.close()
    assert calls[:3] == [0, 1, 2]


def test_gatherer_keeps_order_and_acts_on_what_is_left() -> None:
    batches: list[list[int]] = []
    gatherer: MicroBatcher[int] = MicroBatcher("test", 0.01, 4, batches.append)
    gatherer.start()
    for number in range(10):
        gatherer.put(number)
    gatherer.close()
    assert [number for batch in batches for number in batch] == list(range(10))
    assert max(map(len, batches)) <= 4


def test_gatherer_goes_on_after_a_batch_that_failed() -> None:
    seen: list[int] = []

    def _act(batch: list[int]) -> None:
        seen.extend(batch)
        if batch[0] == 0:
            raise ZeroDivisionError("a defect")

    gatherer: MicroBatcher[int] = MicroBatcher("test", 0.0, 1, _act)
    gatherer.start()
    gatherer.put(0)
    gatherer.put(1)
    deadline = time.monotonic() + 5
    while seen != [0, 1] and time.monotonic() < deadline:
        time.sleep(0.01)
    gatherer.close()
    assert seen == [0, 1]
