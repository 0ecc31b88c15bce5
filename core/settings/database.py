"""Settings of the database."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings

_DEFAULT_URL = "sqlite:///misc-data/misc.db"
_POSTGRESQL = "postgresql+psycopg"
_SCHEMES = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    _POSTGRESQL: _POSTGRESQL,
}
"""What hosts and other programs call the two databases, and what SQLAlchemy does."""


class DatabaseSettings(EnvironmentSettings):
    """Where the truth lives."""

    model_config = SettingsConfigDict(env_prefix="MISC_DATABASE_")

    url: str = Field(
        _DEFAULT_URL,
        repr=False,
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, with what is not a letter or digit in a "
        "name or password as %XX; PgBouncer may stand before PostgreSQL, in transaction mode too",
    )
    pool_size: int = Field(8, ge=1, description="Connections kept open by each process")
    busy_timeout: Duration = Field(
        timedelta(seconds=20), description="How long a statement waits for a free connection, or for SQLite's lock"
    )

    @field_validator("url", mode="before")
    @classmethod
    def _has_to_be_understood(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        # Imported here, because everything reads settings, and little a database.
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        scheme, _, rest = value.partition("://")
        scheme = scheme.lower()
        if scheme not in _SCHEMES:
            raise ValueError("it begins with sqlite:/// or postgresql://; other databases and drivers are not used")
        value = f"{_SCHEMES[scheme]}://{rest}"
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError(
                "it cannot be read; write : / ? # @ in a name or a password as %3A %2F %3F %23 %40"
            ) from None
        unknown = sorted(set(url.query) - _options_of(url.drivername)) if url.query.get("uri") is None else []
        if unknown:
            raise ValueError(f"the option {unknown[0][:40]!r} after the ? is not understood; leave it out")
        return value


def _options_of(driver: str) -> set[str]:
    if driver != _POSTGRESQL:
        return {"timeout", "check_same_thread", "cached_statements"}
    from psycopg.pq import Conninfo

    # SQLAlchemy takes several servers as `host`, whose name the list has too.
    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite database in this file, whatever characters its path has."""
    return f"sqlite:///{quote(str(path))}"
