"""Learned codecs out of the folder of weights, for encoding by name or profile and for decoding by digest.

Importing it costs nothing; PyTorch is imported with the first network.
"""

from codec.errors import FeatureUnavailable
from codec.nets.interface import CoarseNetwork, FindNetwork
from codec.nets.loading.model_cache import ModelCache
from codec.options import Profile
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

_MOST_LOADED = 4
"""The three rates of a profile and one more; each takes some 100 MB."""

_loaded: ModelCache[CoarseNetwork] = ModelCache(_MOST_LOADED)


def load_coarse_network(
    store: WeightsStore,
    *,
    name: str | None = None,
    profile: Profile | None = None,
    rate: int | None = None,
    prefix: bytes | None = None,
) -> CoarseNetwork:
    """The learned codec of that name, or of a profile and rate, or whose digest begins with `prefix`.

    Its file is hashed before it is read. Loaded once a process and shared by its threads. Raises WeightsMissing, which
    says what fetches it, WeightsCorrupt, and FeatureUnavailable where the libraries for networks are not installed.
    """
    record = record_of(store, name=name, profile=profile, rate=rate, prefix=prefix)
    return _loaded.get((record.sha256, record.architecture), lambda: _load(store, record))


def record_of(
    store: WeightsStore,
    *,
    name: str | None = None,
    profile: Profile | None = None,
    rate: int | None = None,
    prefix: bytes | None = None,
) -> Record:
    """What the store says of the same network, without loading it; raises WeightsMissing."""
    if name is not None:
        # A name is one file; what profile and rate it was meant for is not asked of it.
        profile = rate = None
    return store.find(name=name, part=Part.COARSE, profile=profile, rate=rate, prefix=prefix)


def find_in(store: WeightsStore) -> FindNetwork:
    """What decoding asks for the network that a stream names."""
    return lambda prefix: load_coarse_network(store, prefix=prefix)


def release_idle(seconds: float) -> int:
    """Evict the networks that nobody wanted for `seconds`; return the count."""
    return _loaded.release_idle(seconds)


def _load(store: WeightsStore, record: Record) -> CoarseNetwork:
    try:
        from codec.nets.compression.network import load_network
        from codec.nets.loading.checkpoint import read_checkpoint
    except ImportError as error:
        raise FeatureUnavailable(
            f"A learned codec needs PyTorch and CompressAI ({error.name} is missing): pip install 'misc-archive[nets]'."
        ) from None
    state = read_checkpoint(store.checked(record))
    return load_network(record.architecture, state, bytes.fromhex(record.sha256), record.scale or 1)
