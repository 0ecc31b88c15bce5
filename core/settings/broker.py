"""Settings of Redis."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings.duration import Duration


class BrokerSettings(BaseSettings):
    """Redis: wake-ups for workers and events for watchers. Holds nothing that cannot be lost."""

    model_config = SettingsConfigDict(env_prefix="MISC_BROKER_")

    url: str = Field("redis://localhost:6379/0", description="redis://, rediss:// or redis+socket:// URL")
    visibility_timeout: Duration = Field(
        timedelta(hours=6), description="Longer than the longest job; the same in every process"
    )
