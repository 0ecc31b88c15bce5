"""When a failed attempt is followed by another one, as a value."""

import random
from dataclasses import dataclass
from datetime import timedelta

from core.jobs.job import Claim

_MOST_DOUBLINGS = 20
"""The cap is reached long before; timedelta overflows soon after."""


@dataclass(frozen=True)
class RetryPolicy:
    """Waits that double from `first_delay` up to `cap`. Each is lengthened by a random share of up to `jitter`, so
    that jobs which failed together do not come back together. `first_delay` None is for no second attempt at all."""

    first_delay: timedelta | None
    cap: timedelta = timedelta(minutes=5)
    jitter: float = 0.2

    def delay_after(self, claim: Claim) -> timedelta | None:
        """The wait between this attempt and the next one; None when there is no next one."""
        if self.first_delay is None or claim.is_last_attempt:
            return None
        doubled = self.first_delay * (1 << min(claim.attempt - 1, _MOST_DOUBLINGS))
        return min(doubled, self.cap) * random.uniform(1, 1 + self.jitter)


NEVER = RetryPolicy(None)
"""For errors that another attempt would meet again."""

AT_ONCE = RetryPolicy(timedelta(0))
"""For attempts that ended through no fault of their job."""
