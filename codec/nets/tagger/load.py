"""The tagger out of the weights that come along. Importing it costs nothing; PyTorch comes with the first picture."""

import importlib.util
from typing import TYPE_CHECKING

from PIL import Image

from codec.errors import WeightsCorrupt
from codec.nets.loading.model_cache import ModelCache
from codec.nets.tagger.sighting import PictureTagger, Sighting
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

if TYPE_CHECKING:
    from codec.nets.tagger.tagger import Tagger

ARCHITECTURE = "tagger"
"""What files of weights of these networks are called in the store."""

_LIBRARIES = ("safetensors", "scipy", "torch")

_loaded: "ModelCache[Tagger]" = ModelCache(most=1)


def find_tagger(store: WeightsStore) -> PictureTagger | None:
    """A tagger whose networks are loaded with the first picture, once a process, and shared by its threads.

    None where the libraries for networks are not installed, or no weights for it are here. Looking raises
    WeightsCorrupt for a file that is not what it should be.
    """
    if not all(map(_is_installed, _LIBRARIES)):
        return None
    here = [
        record
        for record in store.records().values()
        if record.part is Part.TAGGER and record.architecture == ARCHITECTURE
    ]
    return _StoredTagger(store, max(here, key=lambda record: record.name)) if here else None


def warm_up(store: WeightsStore) -> bool:
    """Load the networks now, so that the first picture does not wait; False where there are none."""
    tagger = find_tagger(store)
    if isinstance(tagger, _StoredTagger):
        tagger.load()
    return tagger is not None


def release_idle(seconds: float) -> int:
    """Give the memory of networks back that nobody asked for in so many seconds; returns how many those were."""
    return _loaded.release_idle(seconds)


class _StoredTagger:
    """The tagger of a file of weights."""

    def __init__(self, store: WeightsStore, record: Record) -> None:
        self._store, self._record = store, record

    def look(self, picture: Image.Image) -> Sighting:
        """See PictureTagger."""
        return self.load().look(picture)

    def load(self) -> "Tagger":
        """The networks, loaded unless they are."""
        return _loaded.get(self._record.sha256, lambda: _load(self._store, self._record))


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    # An import hook that keeps a library away says so by this error.
    except ModuleNotFoundError:
        return False


def _load(store: WeightsStore, record: Record) -> "Tagger":
    from codec.nets.loading.checkpoint import read_tensors
    from codec.nets.tagger.tagger import Tagger

    try:
        return Tagger.filled(read_tensors(store.checked(record)))
    except (KeyError, RuntimeError) as error:
        raise WeightsCorrupt(f"{record.name} is no tagger: {str(error).splitlines()[-1].strip()}") from None
