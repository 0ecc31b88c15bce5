"""Settings of what is kept for how long."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings

_FOR_EVER = timedelta(0)


class RetentionSettings(EnvironmentSettings):
    """How long things are kept that can be spared; streams are kept until they are deleted. 0 is for ever."""

    model_config = SettingsConfigDict(env_prefix="MISC_RETENTION_")

    reconstructions: Duration = Field(
        _FOR_EVER, description="Reconstructions are deleted after this; the same order makes them again"
    )
    reconstructions_bytes: int = Field(
        0, ge=0, description="Most bytes of reconstructions; beyond, those not used for longest go. 0 is no limit"
    )
    jobs: Duration = Field(
        _FOR_EVER, description="Jobs that ended so long ago are forgotten, unless they belong to a batch"
    )
    originals: Duration = Field(
        _FOR_EVER, description="Originals kept by keep_original are deleted so long after they came in"
    )
