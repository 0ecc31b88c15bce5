"""Durations in settings: seconds as people write them, or ISO 8601."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator


def _plain_seconds(value: object) -> object:
    """Let people write 30 for thirty seconds; ISO 8601 (PT30S, P1D) is understood too."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Duration = Annotated[timedelta, BeforeValidator(_plain_seconds)]
