"""Settings of Redis."""

from datetime import timedelta

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from core.redis_url import RedisURL
from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings

_DEFAULT_URL = "redis://localhost:6379/0"


class BrokerSettings(EnvironmentSettings):
    """Redis or Valkey: wake-ups for workers and events for watchers. Holds nothing that cannot be lost."""

    model_config = SettingsConfigDict(env_prefix="MISC_BROKER_")

    url: str = Field(
        _DEFAULT_URL,
        repr=False,
        description="redis://, rediss:// (TLS, verified; ?ssl_ca_certs=FILE for an authority of your own) or "
        "redis+socket:// URL; valkey:// and valkeys:// do as well",
    )
    visibility_timeout: Duration = Field(
        timedelta(hours=6), description="Longer than the longest job; the same in every process"
    )
    task_events: bool = Field(
        False, description="Whether workers tell of their messages by Celery's events, for Flower and the like"
    )

    @field_validator("url")
    @classmethod
    def _has_to_be_understood(cls, value: str) -> str:
        RedisURL.parse(value)
        return value

    @property
    def address(self) -> RedisURL:
        """The URL, parsed."""
        return RedisURL.parse(self.url)
