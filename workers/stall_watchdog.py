"""Notices that this process has stopped consuming although it is alive, which a broken reconnect can cause."""

import os
import signal
from collections.abc import Sequence
from datetime import timedelta

from core.background import Periodic
from core.broker import Broker
from core.jobs.lease import LeaseKeeper
from core.logging import get_logger
from workers.runner import Runner

_log = get_logger(__name__)

_CHECK_SECONDS = 5.0


class StallWatchdog:
    """Ends the process, for its supervisor to start afresh, when it idles beside a queue that is not empty."""

    def __init__(
        self, broker: Broker, keeper: LeaseKeeper, runner: Runner, queues: Sequence[str], stuck_after: timedelta
    ) -> None:
        self._broker, self._keeper, self._runner = broker, keeper, runner
        self._queues, self._stuck_after = queues, stuck_after
        self._thread = Periodic("stall-watchdog", _CHECK_SECONDS, self._check)
        self._idle_checks = 0
        self.wants_restart = False

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _check(self) -> None:
        self._idle_checks = self._idle_checks + 1 if self._is_stuck() else 0
        # Two checks in a row: one may fall between a message's arrival and its delivery.
        if self._idle_checks >= 2 and not self.wants_restart:
            _log.error("worker_stopped_consuming", queues=list(self._queues))
            self.wants_restart = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _is_stuck(self) -> bool:
        if (
            self._runner.is_draining
            or self._keeper.running
            or self._runner.idle_seconds < self._stuck_after.total_seconds()
        ):
            return False
        return any(self._broker.waiting(queue) for queue in self._queues)
