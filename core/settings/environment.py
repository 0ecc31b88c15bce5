"""What all settings share: variables as shells, secrets in files and orchestrators write them."""

from typing import Any

from pydantic import model_validator
from pydantic_settings import BaseSettings

_INJECTED = ("tcp://", "udp://", "sctp://")


class EnvironmentSettings(BaseSettings):
    """Blanks around a value are none of it, as secrets in files end with a line break; an empty one is not set."""

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: Any) -> Any:
        """Kubernetes sets MISC_API_PORT=tcp://10.0.0.1:8000 in every pod beside a service that is called misc-api."""
        if not isinstance(values, dict):
            return values
        plain = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {
            name: value
            for name, value in plain.items()
            if value != "" and not (name.endswith("port") and isinstance(value, str) and value.startswith(_INJECTED))
        }
