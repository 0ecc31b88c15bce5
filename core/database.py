"""Sessions on SQLite or PostgreSQL, both first-class; nothing above this module asks which one it is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session as Session  # for those who write no SQL and pass sessions on
from sqlalchemy.orm import sessionmaker

from core.errors import DatabaseNewer, DatabaseNotMigrated, DatabaseUnavailable, DatabaseUnusable
from core.settings import DatabaseSettings
from models import Base
from models.base import utc_now
from models.revisions import REVISIONS

Publish = Callable[[str, str, dict[str, Any]], None]
"""Takes a job's id, the name of an event and its data, as `core.events.EventLog.publish` does; must not raise."""

_WRITES = "misc_writes"
_ANNOUNCEMENTS = "misc_announcements"
_LAST_USED = "misc_last_used"
_PING_AFTER_SECONDS = 5.0


_LINE = {
    "connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}  # fmt: skip
"""How soon a PostgreSQL that vanished without a word is given up: 15 seconds, not the kernel's 15 minutes in which
lease keepers and requests would hang. What the URL says wins."""

_PREPARE_AFTER = 5
"""Executions of a statement on a connection after which it is prepared there; psycopg's own default."""

_SESSION: dict[str, Any] = {"prepare_threshold": None, "client_encoding": "utf8"}
"""PgBouncer in transaction mode gives each transaction another connection, where statements that were prepared in an
earlier one are not known. The environment's PGCLIENTENCODING must not decide what the archive's texts are."""

_LINE_CHARS = 300

_UNUSABLE_STATES = ("28", "3D", "42501", "22021")
"""Beginnings of SQLSTATEs: no such user or database, no right, an encoding without these letters."""


class Database:
    """One engine a process. `read` and `write` give sessions that end with the block they open."""

    def __init__(self, settings: DatabaseSettings, publish: Publish = lambda _job_id, _name, _data: None) -> None:
        """`publish` is given what a transaction announced, after its commit."""
        self.publish = publish
        url = make_url(settings.url)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite":
            if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
                _make_folder(Path(url.database).parent)
            options["connect_args"] = {"timeout": settings.busy_timeout.total_seconds()}
        else:
            chosen = {name: value for name, value in _LINE.items() if name not in url.query}
            options["connect_args"] = chosen | _SESSION
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
        else:
            _ping_after_idling(self.engine)
            _require_unicode(self.engine)
            _prepare_where_it_lasts(self.engine)
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self._write = sessionmaker(self.engine.execution_options(**{_WRITES: True}), expire_on_commit=False)
        # SQLite has one writer at a time and lets the others sleep and poll, for up to 100 ms a time and in no order.
        # Threads of one process take turns instead.
        self._turn = threading.Lock() if url.get_backend_name() == "sqlite" else None
        self._turn_seconds = settings.busy_timeout.total_seconds()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing it does is kept."""
        with _vendor_errors(), self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose block is one transaction: committed at its end, rolled back when it raises."""
        with _vendor_errors(), self._taken_turn(), self._write() as session, session.begin():
            yield session
        for announcement in session.info.pop(_ANNOUNCEMENTS, ()):
            self.publish(*announcement)

    @contextmanager
    def _taken_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._turn_seconds):
            raise DatabaseUnavailable("The database is busy: another transaction of this process takes too long.")
        try:
            yield
        finally:
            self._turn.release()

    def execute_alone(self, statement: Executable, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """One statement as a transaction of its own, in one round trip; returns the rows that it returns."""
        with _vendor_errors(), self._single.connect() as connection:
            result = connection.execute(statement, values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def check(self) -> None:
        """Raise DatabaseUnavailable unless a statement comes back."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection whose block is one transaction, for who changes the schema."""
        with _vendor_errors(), self.engine.begin() as connection:
            yield connection

    def revision(self) -> str | None:
        """The revision of the schema; None for a database without our tables."""
        with self.connection() as connection:
            return revision_of(connection)

    def check_migrated(self) -> None:
        """Raise DatabaseNotMigrated or DatabaseNewer unless the schema is the one that this code works with, and every
        table is there with every column."""
        revision = self.revision()
        if revision is None:
            raise DatabaseNotMigrated("The database has no tables yet; run `python -m migrations`.")
        check_known(revision)
        if revision != REVISIONS[-1]:
            raise DatabaseNotMigrated(
                f"The tables are those of an older version (revision {revision}); run `python -m migrations`."
            )
        try:
            with self.read() as session:
                for table in Base.metadata.sorted_tables:
                    session.execute(select(table).limit(0))
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            raise DatabaseNotMigrated("Tables or columns are missing; run `python -m migrations`.") from error

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusable(
            f"The folder {folder} of the database cannot be made: {error.strerror}. Correct MISC_DATABASE_URL."
        ) from error


def insert_into(bind: Engine | Session, table: Table | type[Base]) -> postgresql.Insert:
    """An INSERT in the dialect of this engine, with `on_conflict_do_nothing` and `on_conflict_do_update`.

    SQLite and PostgreSQL have the same two, and SQLAlchemy a class for each.
    """
    dialect = (bind if isinstance(bind, Engine) else bind.get_bind()).dialect.name
    return postgresql.insert(table) if dialect == "postgresql" else cast(postgresql.Insert, sqlite.insert(table))


def shared_now(session: Session) -> datetime:
    """The moment by the one clock that all who use the database share: its server's, or this machine's for SQLite."""
    if session.get_bind().dialect.name == "postgresql":
        return cast(datetime, session.scalar(select(func.clock_timestamp())))
    return utc_now()


def announce(session: Session, job_id: str, name: str, data: dict[str, Any]) -> None:
    """Have an event published once the transaction of this session is committed, and not at all if it is not."""
    session.info.setdefault(_ANNOUNCEMENTS, []).append((job_id, name, data))


def revision_of(connection: Connection) -> str | None:
    """The revision that Alembic wrote down in this database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def check_known(revision: str) -> None:
    """Raise DatabaseNewer for a revision that this code does not know."""
    if revision not in REVISIONS:
        raise DatabaseNewer(
            f"The database has the tables of a newer version of this program, or of another one (revision "
            f"{revision[:40]!r}). Upgrade this program, or name another database in MISC_DATABASE_URL."
        )


@contextmanager
def _vendor_errors() -> Iterator[None]:
    """Turn an unreachable, overloaded or lost database into one transient error, and one that cannot be used into
    another; leave programming errors alone."""
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailable(f"No database connection became free in time: {_line_of(error)}") from error
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if state.startswith(_UNUSABLE_STATES) or "file is not a database" in str(error.orig):
            raise DatabaseUnusable(f"The database cannot be used: {_line_of(error.orig)}.") from error
        if isinstance(error, OperationalError):
            raise DatabaseUnavailable(f"The database did not answer: {_line_of(error.orig)}") from error
        # A primary that is being replaced is read-only for a moment (25006, read_only_sql_transaction).
        if error.connection_invalidated or state == "25006":
            raise DatabaseUnavailable(f"The database connection was lost: {_line_of(error.orig)}") from error
        raise


def _line_of(error: object) -> str:
    """A vendor's words as one short line; PostgreSQL's have one for each address that it tried."""
    line = " ".join(str(error).split()).rstrip(".")
    line = line.partition(" Is the server running")[0].partition(" Multiple connection attempts failed")[0]
    return line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]} ..."


def _require_unicode(engine: Engine) -> None:
    """Refuse a database that cannot hold every name and description."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):
            connection.close()
            raise DatabaseUnusable(
                f"The PostgreSQL database has the encoding {encoding}, and texts here are Unicode. Create another one "
                "with ENCODING 'UTF8' TEMPLATE template0, and name it in MISC_DATABASE_URL."
            )


def _prepare_where_it_lasts(engine: Engine) -> None:
    """Let statements be prepared on connections that lead to one server process, which spares it a tenth of its work.

    A pooler tells a process id of its own, and may hand the next transaction to a process that knows no statement.
    """

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        process_id = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
        connection.rollback()
        if process_id == connection.info.backend_pid:
            connection.prepare_threshold = _PREPARE_AFTER


def _ping_after_idling(engine: Engine) -> None:
    """Test a connection before it is used again after a pause; a test before every use would double the round trips."""

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: Any) -> None:
        record.info[_LAST_USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_LAST_USED, time.monotonic()) < _PING_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("the database closed an idle connection") from error


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
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        writes = options.get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
