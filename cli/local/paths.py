"""The folders of this user that commands share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.nets.interface import CoarseNetwork
    from codec.picture.credentials import Signer
    from codec.weights.store import WeightsStore


def data_folder() -> Path:
    """Where this user's archive and descriptions are kept."""
    from platformdirs import user_data_path

    return with_home(partial(user_data_path, "misc-archive", appauthor=False))


def earlier_data_folder() -> Path:
    """Where earlier versions kept descriptions and weights."""
    from platformdirs import user_data_path

    return with_home(partial(user_data_path, "misc"))


def with_home(find: Callable[[], Path]) -> Path:
    """The folder that is found, or the system's own for a user without a home, as containers have: a number that nobody
    knows, and no HOME."""
    from codec.weights.store import HOMELESS

    try:
        path = find()
    except RuntimeError:
        return HOMELESS
    # Older libraries hand "~" back, and a folder of that name would be made where the command is run.
    return path if path.is_absolute() else HOMELESS


def weights_store() -> "WeightsStore":
    """The networks' weights of this machine: MISC_WEIGHTS_PATH, else the usual folder."""
    from codec.weights.store import WeightsStore, default_folder
    from core.settings import WeightsSettings, load

    return WeightsStore(load(WeightsSettings).path or default_folder())


def mark_signer() -> "Signer | None":
    """Who signs reconstructions that are made here: MISC_MARK_CERTIFICATE. Raises SettingsInvalid."""
    from core.settings import MarkSettings, load

    return load(MarkSettings).signer()


def find_network(prefix: bytes) -> "CoarseNetwork":
    """The learned codec that a stream names; raises WeightsMissing, which says how to get it."""
    from codec.nets.compression.load import load_coarse_network

    return load_coarse_network(weights_store(), prefix=prefix)
