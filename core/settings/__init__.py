"""Settings from `MISC_*` environment variables, one small class a concern. Nothing is read at import time."""

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from core.errors import SettingsInvalid
from core.settings.api import APISettings
from core.settings.broker import BrokerSettings
from core.settings.database import DatabaseSettings
from core.settings.llm import LMMSettings, SpendingPeriod
from core.settings.log import LogSettings
from core.settings.network import NetworkSettings, ProfileSettings, WeightsSettings
from core.settings.storage import StorageBackend, StorageSettings
from core.settings.worker import WorkerSettings

__all__ = [
    "ALL_SETTINGS",
    "APISettings",
    "BrokerSettings",
    "DatabaseSettings",
    "LMMSettings",
    "LogSettings",
    "NetworkSettings",
    "ProfileSettings",
    "SpendingPeriod",
    "StorageBackend",
    "StorageSettings",
    "WeightsSettings",
    "WorkerSettings",
    "load",
]

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read the settings of one concern; raises SettingsInvalid that names each wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"]
        faults = (f"{prefix}{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
        raise SettingsInvalid("; ".join(faults)) from None


ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    BrokerSettings,
    StorageSettings,
    APISettings,
    WorkerSettings,
    LMMSettings,
    WeightsSettings,
    ProfileSettings,
    NetworkSettings,
    LogSettings,
)
