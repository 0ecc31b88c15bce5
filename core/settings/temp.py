"""Settings of temporary files."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings.environment import EnvironmentSettings


class TempSettings(EnvironmentSettings):
    """Files that live as long as a request or a job: uploads, and originals that a worker fetched."""

    model_config = SettingsConfigDict(env_prefix="MISC_TEMP_")

    path: Path | None = Field(
        None,
        description="Folder of uploads that are being received and of fetched originals; empty for the system's "
        "(TMPDIR, /tmp). Where it is full, uploads are answered with 507",
    )
