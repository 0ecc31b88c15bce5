"""Settings of the HTTP process."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings

_MIB = 1024 * 1024

_DEFAULT_PORT = 8000

_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


class APISettings(EnvironmentSettings):
    """The HTTP process."""

    model_config = SettingsConfigDict(env_prefix="MISC_API_")

    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs keys")
    port: int = Field(_DEFAULT_PORT, ge=0, le=65535, description="Port to listen on")
    root_path: str = Field(
        "",
        description="Path below which callers reach the service, as /misc, where a proxy in front takes it off or not; "
        "empty for none",
    )
    keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated bearer keys; none means loopback only"
    )
    max_connections: int = Field(
        4000, ge=16, description="Most connections at a time; a new one takes the place of one that waits idle"
    )
    max_event_streams: int = Field(1000, ge=1, description="Most event streams at a time; a caller may have a quarter")
    max_upload_bytes: int = Field(128 * _MIB, ge=1, description="Largest request body for one picture")
    max_batch_bytes: int = Field(1024 * _MIB, ge=1, description="Largest request body for one batch")
    max_batch_images: int = Field(1000, ge=1, description="Most pictures in one batch request")
    max_pixels: int = Field(100_000_000, ge=1, le=100_000_000, description="Most pixels in one picture")
    max_open_jobs: int = Field(
        200_000, ge=1, description="Most jobs of a queue that wait or run; beyond it new ones are answered with 429"
    )
    upload_wait: Duration = Field(
        timedelta(milliseconds=500),
        description="How long an upload that has arrived waits for its turn before it is answered with 503",
    )
    events_poll: Duration = Field(
        timedelta(seconds=2),
        description="How often an event stream checks the database in case an event was lost",
    )
    idempotency_lifetime: Duration = Field(timedelta(hours=24), description="How long answers are kept for replay")

    @field_validator("root_path")
    @classmethod
    def _path_of_plain_names(cls, value: str) -> str:
        path = value.rstrip("/")
        if not _ROOT_PATH.fullmatch(path):
            raise ValueError("it is a path such as /misc, of letters, digits and . _ ~ -")
        return path

    @field_validator("keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
