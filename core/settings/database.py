"""Settings of the database."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings.duration import Duration


class DatabaseSettings(BaseSettings):
    """Where the truth lives."""

    model_config = SettingsConfigDict(env_prefix="MISC_DATABASE_")

    url: str = Field(
        "sqlite:///misc-data/misc.db",
        description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME",
    )
    pool_size: int = Field(8, ge=1, description="Connections kept open by each process")
    busy_timeout: Duration = Field(
        timedelta(seconds=20), description="How long a statement waits for a free connection, or for SQLite's lock"
    )
