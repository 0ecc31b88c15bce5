"""While a dependency is away work is held back, but for one try now and then."""

from core.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _opened(clock: Clock) -> Breaker:
    breaker = Breaker("storage", clock)
    for _ in range(3):
        breaker.record_failure()
    return breaker


def test_single_failures_between_successes_hold_nothing_back() -> None:
    breaker = Breaker("storage", Clock())
    for _ in range(10):
        breaker.record_failure()
        breaker.record_failure()
        breaker.record_success()
    assert breaker.admits() and not breaker.take_recovery()


def test_one_try_is_admitted_after_each_wait_and_waits_grow_to_eight_seconds() -> None:
    clock = Clock()
    breaker = _opened(clock)
    admitted = []
    for tenth in range(400):
        clock.now = tenth / 10
        if breaker.admits():
            admitted.append(clock.now)
        breaker.record_failure()
    assert admitted == [1.0, 3.0, 7.0, 15.0, 23.0, 31.0, 39.0]


def test_first_success_admits_everybody_and_is_told_once_as_recovery() -> None:
    breaker = _opened(Clock())
    assert not breaker.admits()
    breaker.record_success()
    assert [breaker.admits() for _ in range(5)] == [True] * 5
    assert [breaker.take_recovery() for _ in range(2)] == [True, False]
