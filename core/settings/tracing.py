"""Settings of traces."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from core.settings.environment import EnvironmentSettings


class TracingSettings(EnvironmentSettings):
    """Traces of requests and jobs, by OpenTelemetry; needs the extra `otel`."""

    model_config = SettingsConfigDict(env_prefix="MISC_TRACING_")

    endpoint: str | None = Field(
        None, description="Collector that takes OTLP over HTTP, as http://collector:4318; empty for no traces"
    )
    ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the requests that are traced, where their caller does not decide it"
    )

    @field_validator("endpoint")
    @classmethod
    def _has_to_be_an_address(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("has to be an http:// or https:// address")
        return value
