"""Waits between attempts double, end at the cap, and are not the same for two jobs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.jobs.job import Claim
from core.jobs.retry import NEVER, PausePolicy, RetryPolicy


def _attempt(number: int, max_attempts: int = 100) -> Claim:
    return Claim("job_1", "encode", "clm_1", number, max_attempts, None, None, None)


def test_waits_double_up_to_the_cap() -> None:
    policy = RetryPolicy(timedelta(seconds=2), cap=timedelta(minutes=1), jitter=0.0)
    waits = [policy.delay_after(_attempt(number)) for number in (1, 2, 3, 4, 5, 6, 99)]
    assert waits == [timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 60, 60)]


def test_jitter_lengthens_waits_and_parts_jobs_that_failed_together() -> None:
    policy = RetryPolicy(timedelta(seconds=10), jitter=0.2)
    waits = {policy.delay_after(_attempt(1)) for _ in range(50)}
    assert len(waits) > 40
    assert all(wait is not None and timedelta(seconds=10) <= wait <= timedelta(seconds=12) for wait in waits)


@pytest.mark.parametrize(
    ("policy", "claim"), [(RetryPolicy(timedelta(0)), _attempt(3, max_attempts=3)), (NEVER, _attempt(1))]
)
def test_last_attempt_is_followed_by_none(policy: RetryPolicy, claim: Claim) -> None:
    assert policy.delay_after(claim) is None


def test_pauses_double_up_to_the_cap_and_half_of_each_is_random() -> None:
    policy = PausePolicy(timedelta(seconds=2), patience=timedelta(hours=24))
    for pauses, longest in ((0, 2), (1, 4), (5, 64), (8, 300), (100_000, 300)):
        claim = replace(_attempt(1), pauses=pauses)
        seconds = [policy.delay_after(claim).total_seconds() for _ in range(200)]
        assert longest / 2 <= min(seconds) < 0.6 * longest and 0.9 * longest < max(seconds) <= longest
