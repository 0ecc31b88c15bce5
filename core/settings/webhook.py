"""Settings of webhooks."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from core.settings.environment import EnvironmentSettings


class WebhookSettings(EnvironmentSettings):
    """Where messages may be sent."""

    model_config = SettingsConfigDict(env_prefix="MISC_WEBHOOK_")

    private_hosts: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Comma-separated hosts, as they stand in addresses, that webhooks may name although they are "
        "private or without TLS; all others need https and a public address",
    )

    @field_validator("private_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip().lower().strip("[]") for part in value.split(",") if part.strip())
        return value
