"""The networks that commands restore by: which set, where they run, kept for all files of a call."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cli.local.paths import weights_store

if TYPE_CHECKING:
    from codec.decode.restorers import Restorers
    from codec.nets.loading.device_config import DeviceConfig
    from codec.options import Profile


def default_profile() -> "Profile":
    """The profile of calls that name none: MISC_PROFILE."""
    from core.settings import ProfileSettings, load

    return load(ProfileSettings).profile


def takes_minutes_to_load() -> bool:
    """True when decode workers load networks of gigabytes before they are ready; those of lite take seconds."""
    from codec.options import Profile

    return default_profile() is not Profile.LITE


def restorers() -> "Restorers":
    """Those of this process, on the device and in the precision that MISC_NETWORK_* ask for."""
    from codec.nets.loading.device_config import DeviceConfig
    from core.settings import NetworkSettings, load

    settings = load(NetworkSettings)
    return _restorers_of(
        weights_store().path, DeviceConfig(settings.device, settings.dtype, settings.compile, settings.graphs)
    )


@lru_cache(maxsize=1)
def _restorers_of(weights: Path, device_config: "DeviceConfig") -> "Restorers":
    from codec.decode.restorers import Restorers
    from codec.weights.store import WeightsStore

    return Restorers(WeightsStore(weights), device_config)
