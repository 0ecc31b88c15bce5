"""Settings of how often stored objects are read and held against their digests."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings


class FixitySettings(EnvironmentSettings):
    """The scrubber's."""

    model_config = SettingsConfigDict(env_prefix="MISC_FIXITY_")

    # A year has twelve passes, and a fault waits for no more than the life of most backups.
    period: Duration = Field(timedelta(days=30), description="Every object is read once in this time; 0 is never")
    objects_per_second: float = Field(20.0, gt=0, description="Most objects that are read in a second")
    bytes_per_second: float = Field(10_000_000.0, gt=0, description="Most bytes that are read in a second")
