"""Settings of object storage."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from core.settings.duration import Duration
from core.settings.environment import EnvironmentSettings


class StorageBackend(StrEnum):
    """Where objects lie."""

    LOCAL = "local"
    """A folder."""
    S3 = "s3"
    """An S3-compatible store."""


class StorageSettings(EnvironmentSettings):
    """Object storage."""

    model_config = SettingsConfigDict(env_prefix="MISC_STORAGE_")

    backend: StorageBackend = Field(StorageBackend.LOCAL, description="local or s3")
    path: Path = Field(Path("misc-data/objects"), description="Folder of the local backend")
    bucket: str = Field("misc", description="Bucket of the s3 backend")
    prefix: str = Field("", description="Prefix of every key in the bucket")
    endpoint_url: str | None = Field(None, description="Address of an S3-compatible store; empty for AWS")
    public_endpoint_url: str | None = Field(
        None, description="Address for presigned URLs when callers reach the store by another name"
    )
    region: str = Field("us-east-1", description="Region that requests are signed for")
    access_key: str | None = Field(None, description="Access key; empty for the SDK's own search")
    secret_key: SecretStr | None = Field(None, description="Secret key")
    request_checksum_calculation: Literal["when_required", "when_supported"] = Field(
        "when_required", description="when_supported sends checksums that some S3-compatible stores refuse"
    )
    delete_versions: bool = Field(
        False, description="Delete every version of an object, where the bucket keeps them, and not the newest alone"
    )
    presign_expires: Duration = Field(timedelta(minutes=15), description="Life of a presigned URL")


class MirrorPolicy(StrEnum):
    """Whether there is a second copy of what cannot be made again, and when it is written."""

    OFF = "off"
    """There is none."""
    AT_ONCE = "at_once"
    """Before a job counts as done: an object is stored when both stores have it."""
    BEHIND = "behind"
    """By the scrubber, soon after."""


class MirrorSettings(StorageSettings):
    """The mirror of object storage: another folder or bucket, set like the first."""

    model_config = SettingsConfigDict(env_prefix="MISC_STORAGE_MIRROR_")

    policy: MirrorPolicy = Field(MirrorPolicy.OFF, description="off, at_once (before a job is done) or behind")
    path: Path = Field(Path("misc-data/mirror"), description="Folder of the local backend")
