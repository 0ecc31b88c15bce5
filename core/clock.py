"""The one clock that all processes share, as an SQL expression: the database server's, or this machine's for SQLite."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from models.base import UTCDateTime


class DatabaseNow(FunctionElement[datetime]):
    """The present moment and so many seconds more, evaluated in the statement that it is part of."""

    type = UTCDateTime()
    inherit_cache = True


def database_now(later: timedelta | ColumnElement[float] = timedelta(0)) -> DatabaseNow:
    """The present moment by the database's clock, or one `later` (a bound parameter is in seconds)."""
    return DatabaseNow(literal(later.total_seconds(), Float()) if isinstance(later, timedelta) else later)


class StatementNow(FunctionElement[datetime]):
    """The moment at which the statement that it is part of began."""

    type = UTCDateTime()
    inherit_cache = True


def statement_now() -> StatementNow:
    """The present moment by the database's clock, as a bound of a range that an index is read in: unlike
    `database_now` it is the same for every row."""
    return StatementNow()


@compiles(DatabaseNow, "postgresql")
def _on_postgresql(element: DatabaseNow, compiler: Any, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(DatabaseNow, "sqlite")
def _on_sqlite(element: DatabaseNow, compiler: Any, **options: Any) -> str:
    # Timestamps are text there, with six digits after the point; the function has three.
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', {seconds}))"


@compiles(StatementNow, "postgresql")
def _statement_on_postgresql(_element: StatementNow, _compiler: Any, **_options: Any) -> str:
    return "statement_timestamp()"


@compiles(StatementNow, "sqlite")
def _statement_on_sqlite(_element: StatementNow, _compiler: Any, **_options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
