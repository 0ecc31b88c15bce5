"""Settings of logging."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LogSettings(BaseSettings):
    """Logging."""

    model_config = SettingsConfigDict(env_prefix="MISC_LOG_")

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is printed")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto prints colour on a terminal and JSON elsewhere"
    )
