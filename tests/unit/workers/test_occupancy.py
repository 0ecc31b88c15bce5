"""Jobs work side by side; a suspect works alone, and gets its turn."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from codec.errors import Cancelled
from core.jobs.job import Claim
from core.jobs.lease import LeasedJob
from workers.occupancy import Occupancy


class Keeper:
    """Notes who is at work."""

    def __init__(self) -> None:
        self.at_work_now: set[str] = set()

    @contextmanager
    def at_work(self, job: LeasedJob) -> Iterator[None]:
        self.at_work_now.add(job.claim.job_id)
        yield
        self.at_work_now.remove(job.claim.job_id)


def _job(name: str, *, is_suspect: bool = False) -> LeasedJob:
    return LeasedJob(Claim(name, "encode", name, 1, 3, None, None, None, is_suspect))


class Floor:
    """Threads that enter, stay until they are let go, and leave."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self._occupancy = Occupancy(self.keeper)  # type: ignore[arg-type]
        self._entered: dict[str, threading.Event] = {}
        self._may_leave: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def enter(self, name: str, *, is_suspect: bool = False) -> None:
        self._entered[name], self._may_leave[name] = threading.Event(), threading.Event()

        def _work() -> None:
            with self._occupancy.enter(_job(name, is_suspect=is_suspect), lambda: False):
                self._entered[name].set()
                assert self._may_leave[name].wait(10)

        self._threads[name] = threading.Thread(target=_work, daemon=True)
        self._threads[name].start()

    def is_in(self, name: str, seconds: float = 5.0) -> bool:
        return self._entered[name].wait(seconds)

    def leave(self, name: str) -> None:
        self._may_leave[name].set()
        self._threads[name].join(10)

    def cancelled(self) -> None:
        with self._occupancy.enter(_job("late"), lambda: True):
            raise AssertionError("there was no room")


def test_jobs_work_side_by_side() -> None:
    floor = Floor()
    for name in ("a", "b", "c"):
        floor.enter(name)
        assert floor.is_in(name)
    assert floor.keeper.at_work_now == {"a", "b", "c"}
    for name in ("a", "b", "c"):
        floor.leave(name)


def test_suspect_waits_for_an_empty_process_and_nobody_enters_before_or_beside_it() -> None:
    floor = Floor()
    floor.enter("a")
    assert floor.is_in("a")
    floor.enter("suspect", is_suspect=True)
    assert not floor.is_in("suspect", 0.1)
    floor.enter("b")
    assert not floor.is_in("b", 0.1), "a suspect that waits goes first"
    floor.leave("a")
    assert floor.is_in("suspect")
    assert not floor.is_in("b", 0.1)
    assert floor.keeper.at_work_now == {"suspect"}
    floor.leave("suspect")
    assert floor.is_in("b")
    floor.leave("b")


def test_two_suspects_work_one_after_the_other() -> None:
    floor = Floor()
    floor.enter("one", is_suspect=True)
    assert floor.is_in("one")
    floor.enter("two", is_suspect=True)
    assert not floor.is_in("two", 0.1)
    floor.leave("one")
    assert floor.is_in("two")
    floor.leave("two")


def test_cancelled_job_does_not_wait_for_its_turn() -> None:
    floor = Floor()
    floor.enter("suspect", is_suspect=True)
    assert floor.is_in("suspect")
    with pytest.raises(Cancelled):
        floor.cancelled()
    floor.leave("suspect")


def test_place_of_a_job_that_could_not_be_recorded_is_free_again() -> None:
    class Refusing(Keeper):
        def at_work(self, job: LeasedJob) -> Any:
            raise RuntimeError("the lease is lost")

    occupancy = Occupancy(Refusing())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError), occupancy.enter(_job("a", is_suspect=True), lambda: False):
        pass
    with pytest.raises(RuntimeError, match="lease"), occupancy.enter(_job("b", is_suspect=True), lambda: True):
        pass
