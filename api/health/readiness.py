"""Looks whether the service can serve: database with its tables, storage, broker. Remembers the answer briefly."""

import threading
import time
from typing import Literal

from api.health.schemas import Readiness
from api.services import Services
from core.errors import ServiceError
from core.logging import get_logger

_log = get_logger(__name__)

_REMEMBERED_SECONDS = 1.0
"""Anybody may ask; a check writes to the storage, so a flood of questions must not become a flood of writes."""


class ReadinessCheck:
    """One for the process; called from many threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._last: tuple[float, Readiness] | None = None

    def look(self) -> Readiness:
        """The state now, or of a moment ago."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _REMEMBERED_SECONDS:
                readiness = self._check()
                self._last = (time.monotonic(), readiness)
            return self._last[1]

    def _check(self) -> Readiness:
        failed: dict[str, str] = {}
        degraded: list[Literal["broker"]] = []
        try:
            self._services.database.check()
            self._services.database.check_migrated()
        except ServiceError as error:
            failed["database"] = error.code
            _log.warning("not_ready", part="database", code=error.code, error=str(error))
        try:
            self._services.storage.check()
        except ServiceError as error:
            failed["storage"] = error.code
            _log.warning("not_ready", part="storage", code=error.code, error=str(error))
        try:
            self._services.broker.check()
        except ServiceError as error:
            degraded.append("broker")
            _log.warning("degraded", part="broker", code=error.code, error=str(error))
        return Readiness(status="unready" if failed else "ready", failed=failed, degraded=degraded)
