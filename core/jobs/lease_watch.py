"""Notices workers that fell silent, by the monotonic clock of the process that watches: no clock of any other machine,
and none that can be set, has a part in it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.jobs.job import HeldLease

_GAP_SECONDS = 5.0
"""A watch that did not look for longer saw nothing of what happened meanwhile."""

_RENEWAL_SECONDS = 5.0
"""Several times what a lease keeper needs to renew everything it holds, once it can."""


@dataclass
class _Sight:
    renewed: datetime | None
    since: float


class LeaseWatch:
    """Looks at all leases again and again, and finds those that nobody renewed for as long as a lease lasts."""

    def __init__(self, lease: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds and never goes back."""
        self._lease_seconds, self._clock = lease.total_seconds(), clock
        self._sights: dict[str, _Sight] = {}
        self._last_look = clock()

    def look(self, leases: Sequence[HeldLease]) -> list[HeldLease]:
        """Take note of all leases that are held now; returns those whose workers are silent."""
        now = self._clock()
        earliest = 0.0
        if now - self._last_look > _GAP_SECONDS:
            # After a suspended machine or an absent database every lease looks old: their keepers go first.
            earliest = now - max(0.0, self._lease_seconds - _RENEWAL_SECONDS)
        self._last_look = now
        sights: dict[str, _Sight] = {}
        for lease in leases:
            token = lease.claim.token
            sight = self._sights.get(token)
            if sight is None or sight.renewed != lease.renewed:
                sight = _Sight(lease.renewed, now)
            sight.since = max(sight.since, earliest)
            sights[token] = sight
        self._sights = sights
        return [lease for lease in leases if now - sights[lease.claim.token].since > self._lease_seconds]
