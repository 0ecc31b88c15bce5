"""Runs Alembic without an ini file; safe when several processes start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from core.database import Database, check_known, revision_of
from core.settings import DatabaseSettings

_LOCK = 0x4D495343  # "MISC": the advisory lock that lets one PostgreSQL migration run at a time


def upgrade(settings: DatabaseSettings) -> None:
    """Bring the schema to the newest revision; raises DatabaseNewer, DatabaseUnusable and DatabaseUnavailable."""
    database = Database(settings)
    try:
        with database.connection() as connection:
            if connection.dialect.name == "postgresql":
                lock(connection)
            revision = revision_of(connection)
            if revision is not None:
                check_known(revision)
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        database.close()


def lock(connection: Connection) -> None:
    """Wait until no other migration of this PostgreSQL runs, and let none begin before the transaction ends."""
    # It ends with the transaction, so it holds behind a pool that hands connections on.
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def new_revision(settings: DatabaseSettings, subject: str) -> None:
    """Write a revision from the difference between the tables and the configured database."""
    database = Database(settings)
    try:
        with database.connection() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.revision(config, message=subject, autogenerate=True)
    finally:
        database.close()


def alembic_config() -> Config:
    """What Alembic needs to find the revisions; a connection goes into its `attributes`."""
    config = Config()
    # Alembic reads its settings as an ini file, where a percent sign begins a reference.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("file_template", "%%(year)d%%(month).2d%%(day).2d_%%(slug)s")
    return config
