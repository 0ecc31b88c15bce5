"""The locator out of the folder of weights. Importing it costs nothing; PyTorch is imported with the first locator."""

import importlib.util

from codec.encode.dependencies import Locator
from codec.nets.loading.model_cache import ModelCache
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

_loaded: ModelCache[Locator] = ModelCache(most=1)


def load_locator(store: WeightsStore) -> Locator | None:
    """The locator with the CLIP that is here, None when there is none or the libraries for networks are not installed.

    Of several the one that is published comes first. Its file is hashed before it is read. Loaded once a process and
    shared by its threads. Raises WeightsCorrupt for a file that is not what it should be.
    """
    here = _clips(store)
    if not here:
        return None
    order = list(store.released)
    record = min(here, key=lambda one: (order.index(one.name) if one.name in order else len(order), one.name))
    return _loaded.get(record.sha256, lambda: _load(store, record))


def can_locate(store: WeightsStore) -> bool:
    """True when there is a locator to load."""
    return bool(_clips(store))


def release_idle(seconds: float) -> int:
    """Give the memory of networks back that nobody asked for in so many seconds; returns how many those were."""
    return _loaded.release_idle(seconds)


def _clips(store: WeightsStore) -> list[Record]:
    if any(importlib.util.find_spec(library) is None for library in ("torch", "transformers")):
        return []
    found = [record for record in store.records().values() if record.part is Part.CLIP]
    return [record for record in found if store.file_of(record).is_file()]


def _load(store: WeightsStore, record: Record) -> Locator:
    from codec.encode.locate.clip import CLIPLocator

    return CLIPLocator.load(store.checked(record))
