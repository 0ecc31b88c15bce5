"""Tells the database every few seconds that this process is alive, and hears from it whether it shall drain."""

from collections.abc import Callable

from core.background import Periodic
from core.database import Database
from core.errors import ServiceError
from core.jobs import workers
from core.jobs.workers import NewWorker
from core.logging import get_logger

_log = get_logger(__name__)


class Heartbeat:
    """One thread a process; an outage of the database is waited out by `Periodic`."""

    def __init__(
        self, database: Database, worker: NewWorker, running: Callable[[], int], drain: Callable[[bool], None]
    ) -> None:
        """`running` counts the jobs under way; `drain` is told when the process shall take no more jobs (True), and
        when it may again (False)."""
        self._database, self._worker = database, worker
        self._running, self._drain = running, drain
        self._is_draining = False
        self._thread = Periodic("heartbeat", workers.HEARTBEAT_SECONDS, self.beat)

    def start(self) -> None:
        """Introduce the process, and go on telling of it."""
        try:
            self.beat()
        except ServiceError as error:
            _log.warning("worker_not_listed", error=str(error))
        self._thread.start()

    def beat(self) -> None:
        """Tell once; raises ServiceError."""
        is_wanted = workers.tell(self._database, self._worker, self._running())
        if is_wanted != self._is_draining:
            self._is_draining = is_wanted
            _log.info("drain_begins" if is_wanted else "drain_ends", worker=self._worker.name)
            self._drain(is_wanted)

    def close(self) -> None:
        """Take the process off the list."""
        self._thread.close()
        try:
            workers.leave(self._database, self._worker.id)
        except ServiceError as error:
            _log.warning("worker_left_listed", error=str(error))
