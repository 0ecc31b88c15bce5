"""Settings of packs: small streams and records merged into large objects."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings


class PackPolicy(StrEnum):
    """Whether streams and records are packed."""

    AUTO = "auto"
    """In a bucket, where each object costs; in a folder from 100,000 objects on."""
    ON = "on"
    """Wherever they lie."""
    OFF = "off"
    """Never; what is packed already stays and is read."""


class PackSettings(EnvironmentSettings):
    """The packer's."""

    model_config = SettingsConfigDict(env_prefix="MISC_PACK_")

    policy: PackPolicy = Field(PackPolicy.AUTO, description="auto (in a bucket, and in a large folder), on or off")
    # Large enough that requests cost nothing beside the bytes, small enough to be read and written again in seconds.
    size_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, le=2**30, description="What a pack is filled up to; none is made of less"
    )
    member_bytes: int = Field(256 * 1024, ge=1, description="Larger streams and records stay objects of their own")
    # A reservation is over by then, and so is whatever job stored the stream.
    age: Duration = Field(timedelta(hours=1), description="Younger streams and records stay objects of their own")
    dead_share: float = Field(0.3, gt=0, le=1, description="A pack is rewritten when more of its bytes are dead")
    dead_age: Duration = Field(
        timedelta(days=7), description="A pack is rewritten when bytes have been dead for so long, however few"
    )
