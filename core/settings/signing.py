"""Settings of the keys that exports are signed and verified with."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.environment import EnvironmentSettings


class SigningSettings(EnvironmentSettings):
    """Keys of exports."""

    model_config = SettingsConfigDict(env_prefix="MISC_SIGNING_")

    key_path: Path | None = Field(
        None, description="File of the private key that signs exports; empty for signing-key.pem in the data folder"
    )
    trusted_path: Path | None = Field(
        None, description="List of keys whose exports are taken; empty for trusted-keys.txt in the data folder"
    )
