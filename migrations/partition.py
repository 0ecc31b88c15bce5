"""Partitions the words of images in PostgreSQL, the first table that is too large for one index; docs/capacity.md.

No revision of the schema: an archive is partitioned when it is large, and no code knows whether it is. The table keeps
its name, columns, key, index and foreign key. Parts are ranges of words, since a search looks for all words that begin
alike: it reads one or two of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from core.database import Database
from core.errors import DatabaseUnusable
from core.settings import DatabaseSettings
from migrations.upgrade import lock

PREFIX = "search_words_part_"
"""Names of the parts; they belong to the table and are none of ours."""

_SAMPLE_ROWS = 1_000_000
"""Enough that the largest of hundreds of parts is a few hundredths larger than the others."""

_BOUNDS = """
    WITH sample AS (
        SELECT word, image_id, row_number() OVER (ORDER BY word, image_id) AS number, count(*) OVER () AS total
        FROM search_words TABLESAMPLE SYSTEM (:share)
    )
    SELECT word, image_id FROM sample WHERE number % (total / :parts) = 0 ORDER BY word, image_id LIMIT :parts - 1
"""


class Bound(NamedTuple):
    """Where one part ends and the next begins. With the image in it, so that a word that most images have fits too."""

    word: str
    image_id: str


def partition(settings: DatabaseSettings, parts: int) -> int:
    """Partition the table in one transaction; returns how many rows it has.

    Searches go on meanwhile, and whatever writes waits. Raises DatabaseUnusable for another database than PostgreSQL, a
    table that is partitioned, and one with fewer rows than parts; DatabaseUnavailable.
    """
    database = Database(settings)
    try:
        with database.connection() as connection:
            if connection.dialect.name != "postgresql":
                raise DatabaseUnusable("Only PostgreSQL has partitions; a SQLite database is one file.")
            lock(connection)
            connection.execute(text("LOCK TABLE search_words IN EXCLUSIVE MODE"))
            rows = _check(connection, parts)
            _copy(connection, _bounds(connection, rows, parts), rows)
            return rows
    finally:
        database.close()


def _check(connection: Connection, parts: int) -> int:
    if connection.scalar(text("SELECT relkind = 'p' FROM pg_class WHERE oid = 'search_words'::regclass")):
        raise DatabaseUnusable("The table search_words is partitioned already.")
    rows = connection.scalar(text("SELECT count(*) FROM search_words")) or 0
    if rows < parts or parts < 2:
        raise DatabaseUnusable(f"A table of {rows} rows cannot be {parts} parts; name 2 at least, and fewer than rows.")
    return int(rows)


def _bounds(connection: Connection, rows: int, parts: int) -> list[Bound]:
    share = min(100.0, 100.0 * _SAMPLE_ROWS / rows)
    found = connection.execute(text(_BOUNDS), {"share": share, "parts": parts})
    return [Bound(row.word, row.image_id) for row in found]


def _copy(connection: Connection, bounds: Sequence[Bound], rows: int) -> None:
    """Fill a partitioned table, then have it take the place of the other. Indexes are made when the rows are there."""
    run = connection.exec_driver_sql
    ends = [f"({_quoted(bound.word)}, {_quoted(bound.image_id)})" for bound in bounds]
    run("CREATE TABLE partitioned_words (LIKE search_words) PARTITION BY RANGE (word, image_id)")
    starts = ["(MINVALUE, MINVALUE)", *ends]
    for number, (start, end) in enumerate(zip(starts, [*ends, "(MAXVALUE, MAXVALUE)"], strict=True), start=1):
        run(f"CREATE TABLE {PREFIX}{number:03} PARTITION OF partitioned_words FOR VALUES FROM {start} TO {end}")
    run("INSERT INTO partitioned_words SELECT word, image_id FROM search_words")
    run("DROP TABLE search_words")
    run("ALTER TABLE partitioned_words RENAME TO search_words")
    run("ALTER TABLE search_words ADD CONSTRAINT pk_search_words PRIMARY KEY (word, image_id)")
    run("CREATE INDEX ix_search_words_image_id ON search_words (image_id)")
    run(
        "ALTER TABLE search_words ADD CONSTRAINT fk_search_words_image_id_images "
        "FOREIGN KEY (image_id) REFERENCES images (id) ON DELETE CASCADE"
    )
    copied = connection.scalar(text("SELECT count(*) FROM search_words"))
    if copied != rows:
        raise DatabaseUnusable(f"{copied} of {rows} rows were copied. Nothing was changed.")
    run("ANALYZE search_words")


def _quoted(value: str) -> str:
    """A literal, since bounds cannot be parameters."""
    return "'" + value.replace("'", "''") + "'"
