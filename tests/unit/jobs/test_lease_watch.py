"""A lease is over when nobody renewed it for as long as it lasts, whatever any clock on a wall says."""

from datetime import UTC, datetime, timedelta

from core.jobs.job import Claim, HeldLease
from core.jobs.lease_watch import LeaseWatch

LEASE = timedelta(seconds=15)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


def _held(token: str, renewed: datetime | None) -> HeldLease:
    return HeldLease(Claim(f"job_{token}", "encode", token, 1, 3, None, None, None), renewed, at_work=False)


def _look(watch: LeaseWatch, clock: Clock, seconds: float, *leases: HeldLease) -> list[str]:
    clock.now += seconds
    return [lease.claim.token for lease in watch.look(leases)]


def test_lease_that_nobody_renews_is_over_after_its_time_and_not_before() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    silent = [_look(watch, clock, 1, _held("a", NOON)) for _ in range(17)]
    assert silent == [[]] * 16 + [["a"]]


def test_renewal_counts_also_when_its_clock_went_back() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    for second in range(60):
        renewed = NOON - timedelta(hours=second)
        assert _look(watch, clock, 1, _held("a", renewed), _held("b", NOON + timedelta(hours=2)))[:1] != ["a"]
    assert _look(watch, clock, 1, _held("a", renewed), _held("b", NOON + timedelta(hours=2))) == ["b"]


def test_time_in_which_nobody_looked_leaves_keepers_five_seconds_to_renew() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    assert _look(watch, clock, 1, _held("a", NOON)) == []
    assert _look(watch, clock, 600, _held("a", NOON)) == []
    assert [_look(watch, clock, 1, _held("a", NOON)) for _ in range(6)] == [[]] * 5 + [["a"]]


def test_new_claim_of_the_same_job_has_its_whole_lease() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    for _ in range(14):
        _look(watch, clock, 1, _held("a", NOON))
    assert [_look(watch, clock, 1, _held("b", NOON)) for _ in range(16)] == [[]] * 16
