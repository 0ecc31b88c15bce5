"""Settings from `MISC_*` environment variables, one small class a concern. Nothing is read at import time."""

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from core.errors import SettingsInvalid
from core.settings.api import APISettings
from core.settings.broker import BrokerSettings
from core.settings.database import DatabaseSettings, sqlite_url
from core.settings.fixity import FixitySettings
from core.settings.llm import LMMSettings, SpendingPeriod
from core.settings.log import LogSettings
from core.settings.mark import MarkSettings
from core.settings.network import NetworkSettings, ProfileSettings, WeightsSettings
from core.settings.packs import PackPolicy, PackSettings
from core.settings.retention import RetentionSettings
from core.settings.signing import SigningSettings
from core.settings.storage import MirrorPolicy, MirrorSettings, StorageBackend, StorageSettings
from core.settings.temp import TempSettings
from core.settings.tracing import TracingSettings
from core.settings.webhook import WebhookSettings
from core.settings.worker import WorkerSettings

__all__ = [
    "ALL_SETTINGS",
    "APISettings",
    "BrokerSettings",
    "DatabaseSettings",
    "FixitySettings",
    "LMMSettings",
    "LogSettings",
    "MarkSettings",
    "MirrorPolicy",
    "MirrorSettings",
    "NetworkSettings",
    "PackPolicy",
    "PackSettings",
    "ProfileSettings",
    "RetentionSettings",
    "SigningSettings",
    "SpendingPeriod",
    "StorageBackend",
    "StorageSettings",
    "TempSettings",
    "TracingSettings",
    "WebhookSettings",
    "WeightsSettings",
    "WorkerSettings",
    "load",
    "sqlite_url",
]

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(kind: type[SettingsT]) -> SettingsT:
    """Read the settings of one concern; raises SettingsInvalid that names each wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config["env_prefix"]
        raise SettingsInvalid("; ".join(_sentence_of(prefix, fault) for fault in error.errors())) from None


def _sentence_of(prefix: str, fault: "ErrorDetails") -> str:
    """What is wrong with one variable. Its value is left out, since it may hold a password."""
    reason = fault["msg"].removeprefix("Value error, ")
    # A contradiction between several variables names them itself.
    return f"{prefix}{'_'.join(map(str, fault['loc'])).upper()}: {reason}" if fault["loc"] else reason


ALL_SETTINGS: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    BrokerSettings,
    StorageSettings,
    MirrorSettings,
    FixitySettings,
    SigningSettings,
    PackSettings,
    TempSettings,
    APISettings,
    WorkerSettings,
    RetentionSettings,
    MarkSettings,
    WebhookSettings,
    LMMSettings,
    WeightsSettings,
    ProfileSettings,
    NetworkSettings,
    LogSettings,
    TracingSettings,
)
