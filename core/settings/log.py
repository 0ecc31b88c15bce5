"""Settings of logging."""

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from core.settings.environment import EnvironmentSettings


class LogSettings(EnvironmentSettings):
    """Logging."""

    model_config = SettingsConfigDict(env_prefix="MISC_LOG_")

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is printed")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto prints colour on a terminal and JSON elsewhere"
    )

    @field_validator("level", "format", mode="before")
    @classmethod
    def _in_capitals_too(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value
