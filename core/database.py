"""Sessions on SQLite or PostgreSQL, both first-class; nothing above this module asks which one it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import DatabaseUnavailable
from core.settings import DatabaseSettings

_WRITES = "misc_writes"


class Database:
    """One engine a process. `read` and `write` give sessions that end with the block they open."""

    def __init__(self, settings: DatabaseSettings) -> None:
        url = make_url(settings.url)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite":
            if url.database and url.database != ":memory:":
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            options["connect_args"] = {"timeout": settings.busy_timeout.total_seconds()}
        else:
            options["pool_pre_ping"] = True
        self.engine = create_engine(
            url,
            pool_size=settings.pool_size,
            # Worker threads and request threads come in bursts above the steady pool.
            max_overflow=settings.pool_size * 2,
            pool_timeout=settings.busy_timeout.total_seconds(),
            **options,
        )
        if url.get_backend_name() == "sqlite":
            _tame_sqlite(self.engine)
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self._write = sessionmaker(self.engine.execution_options(**{_WRITES: True}), expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing it does is kept."""
        with _vendor_errors(), self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, rolled back when it raises."""
        with _vendor_errors(), self._write() as session, session.begin():
            yield session

    def check(self) -> None:
        """Raise DatabaseUnavailable unless a statement comes back."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


@contextmanager
def _vendor_errors() -> Iterator[None]:
    """Turn an unreachable, overloaded or lost database into one transient error; leave programming errors alone."""
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailable(f"No database connection became free in time: {error}") from error
    except OperationalError as error:
        raise DatabaseUnavailable(f"The database did not answer: {error.orig}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"The database connection was lost: {error.orig}") from error
        raise


def _tame_sqlite(engine: Engine) -> None:
    """Make SQLite behave under many processes: WAL, durable commits, and write locks taken at the beginning."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to take the write lock
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once when another writer was faster;
        # one that begins as a writer waits for its turn.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
