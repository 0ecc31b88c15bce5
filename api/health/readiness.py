"""Looks whether the service can serve: database with its tables, storage, broker. Remembers the answer briefly."""

import threading
import time
from typing import Literal

from sqlalchemy import literal_column, select, table
from sqlalchemy.exc import SQLAlchemyError

from api.health.schemas import Readiness
from api.services import Services
from core.errors import DatabaseUnavailable, ServiceError
from core.logging import get_logger
from models.job import Job

_log = get_logger(__name__)

_REMEMBERED_SECONDS = 1.0
"""Anybody may ask; a check writes to the storage, so a flood of questions must not become a flood of writes."""

NOT_MIGRATED = "database_not_migrated"


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
            self._check_database()
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

    def _check_database(self) -> None:
        """Raise unless the database answers and was migrated at least as far as the table of jobs."""
        self._services.database.check()
        try:
            with self._services.database.read() as session:
                session.execute(select(literal_column("version_num")).select_from(table("alembic_version")))
                session.execute(select(Job).limit(1))
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            raise _NotMigrated("The tables are missing or old; run `python -m migrations`.") from error


class _NotMigrated(ServiceError):
    code = NOT_MIGRATED
