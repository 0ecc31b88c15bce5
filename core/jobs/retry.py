"""When a job that did not end is tried again, as values: after an attempt that failed, and after a fault of its
surroundings."""

import random
from dataclasses import dataclass
from datetime import timedelta

from core.jobs.job import Claim

_MOST_DOUBLINGS = 20
"""The cap is reached long before; timedelta overflows soon after."""

LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True)
class RetryPolicy:
    """Waits that double from `first_delay` up to `cap`. Each is lengthened by a random share of up to `jitter`, so
    that jobs which failed together do not come back together. `first_delay` None is for no second attempt at all."""

    first_delay: timedelta | None
    cap: timedelta = LONGEST_PAUSE
    jitter: float = 0.2

    def delay_after(self, claim: Claim) -> timedelta | None:
        """The wait between this attempt and the next one; None when there is no next one."""
        if self.first_delay is None or claim.is_last_attempt:
            return None
        return _doubled(self.first_delay, claim.attempt - 1, self.cap) * random.uniform(1, 1 + self.jitter)


@dataclass(frozen=True)
class PausePolicy:
    """Pauses for faults of the surroundings, which double from `first_delay` up to `cap`, until the same fault has
    been met for `patience`. Half of each is random: jobs that a store turned away together come back one by one."""

    first_delay: timedelta
    patience: timedelta
    cap: timedelta = LONGEST_PAUSE

    def delay_after(self, claim: Claim) -> timedelta:
        """The pause before this job is tried again."""
        return _doubled(self.first_delay, claim.pauses, self.cap) * random.uniform(0.5, 1)


def _doubled(first_delay: timedelta, times: int, cap: timedelta) -> timedelta:
    return min(first_delay * (1 << min(times, _MOST_DOUBLINGS)), cap)


NEVER = RetryPolicy(None)
"""For errors that another attempt would meet again."""
