"""The restorers of one process: each made once, with its networks, and shared by all requests.

Decides which restorer serves which options; how it restores is its own matter.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from codec.bitstream.stream import Texts
from codec.decode.engine.set_turns import SetTurns
from codec.decode.restore import NEEDS_NETWORKS, Restorer, RestoreRequest, get_restorer
from codec.nets.diffbir.load import NetworkFiles, find_files, load_diffbir
from codec.nets.lite.load import find_lite, find_stage1, load_lite, load_stage1
from codec.nets.loading.device_config import DeviceConfig
from codec.nets.loading.model_cache import ModelCache
from codec.options import DecodeOptions, Profile, RestorerName
from codec.weights.index import Record
from codec.weights.store import WeightsStore

if TYPE_CHECKING:
    from codec.decode.diffusion.networks import Networks
    from codec.nets.lite.rrdbnet import RRDBNet

_WARM_UP_PX = 64

_WARM_UP_TOGETHER = (1, 2, 4, 8)
_GRAPHED_AFTER = 2
"""Steps after which a shape's graph has been made."""


@dataclass(frozen=True)
class _NetworkSet:
    """One complete set of networks on this machine: the SHA-256 of its files by part, and what loads them."""

    weights: Mapping[str, str]
    load: "Callable[[], Networks | RRDBNet]"


class Restorers:
    """Restorers by what a request asks for. Safe for many threads.

    The networks of one set are kept; a request for another set waits until the first is free, and evicts it.
    """

    def __init__(self, store: WeightsStore, device_config: DeviceConfig | None = None) -> None:
        self._store, self._device_config = store, device_config or DeviceConfig()
        self._cache: ModelCache[Restorer] = ModelCache(most=1, on_release=self._free_memory)
        self._turns = SetTurns()

    def check(self, options: DecodeOptions) -> None:
        """Raise what `use` would raise because the files of networks are not here, without loading any."""
        if options.restorer_name in NEEDS_NETWORKS:
            self._network_set(options)

    def weights_of(self, options: DecodeOptions) -> Mapping[str, str]:
        """SHA-256 by part of the networks that would restore with these options; raises what `check` raises."""
        return self._network_set(options).weights if options.restorer_name in NEEDS_NETWORKS else {}

    @contextmanager
    def use(self, options: DecodeOptions, is_cancelled: Callable[[], bool] = lambda: False) -> Iterator[Restorer]:
        """The restorer for these options, whose networks are loaded if need be and stay loaded inside the block.

        Raises Cancelled while it waits for a turn, WeightsMissing and WeightsCorrupt, which name the file and the
        command that fetches it, and FeatureUnavailable where a library or device is not there.
        """
        name = options.restorer_name
        if name not in NEEDS_NETWORKS:
            yield get_restorer(name)
            return
        network_set = self._network_set(options)
        key = name, tuple(network_set.weights.values())
        with (
            self._turns.take(key, is_cancelled),
            self._cache.use(key, lambda: self._load(name, network_set)) as restorer,
        ):
            yield restorer

    def warm_up(self, profile: Profile) -> None:
        """Load the networks of a profile and run each once, so that the first request waits for nothing.

        Raises the same errors as `use`.
        """
        options = DecodeOptions(profile=profile, steps=1, res=_WARM_UP_PX)
        coarse = np.full((_WARM_UP_PX, _WARM_UP_PX, 3), 128, np.uint8)
        with self.use(options) as restorer:
            # With and without regions, which take different ways through the networks.
            for maps in ((), (np.ones((8, 8), np.uint8),)):
                texts = Texts(("a thing",) * len(maps), "a picture")
                restorer.finish(restorer.begin(RestoreRequest(coarse, texts, maps, options, seed=0)))
            if profile is Profile.SD21 and (self._device_config.is_compiled or self._device_config.is_graphed):
                _warm_up_together(restorer, DecodeOptions(profile=profile, steps=_GRAPHED_AFTER))

    def release_idle(self, seconds: float) -> int:
        """Evict the networks that nobody wanted for `seconds`; return the count."""
        return self._cache.release_idle(seconds)

    def _network_set(self, options: DecodeOptions) -> _NetworkSet:
        if options.restorer_name is RestorerName.GAN:
            stage1 = find_stage1(self._store)
            return _NetworkSet({"stage1": stage1.sha256}, lambda: load_stage1(self._store, stage1, self._device_config))
        if options.profile is Profile.LITE:
            record, stage1 = find_lite(self._store), find_stage1(self._store)
            weights = {"restorer": record.sha256, "stage1": stage1.sha256}
            return _NetworkSet(weights, lambda: self._lite(record, stage1))
        files = find_files(self._store, options.profile, options.network_set)
        return _NetworkSet(files.weights, lambda: self._diffbir(files))

    def _load(self, name: RestorerName, network_set: _NetworkSet) -> Restorer:
        # Two sets at once may be more than the device has.
        self._cache.release_idle(0.0)
        restorer = get_restorer(name, network_set.load())
        restorer.weights = network_set.weights
        return restorer

    def _lite(self, record: Record, stage1: Record) -> "Networks":
        network, vocabulary = load_lite(self._store, record, self._device_config)
        first = load_stage1(self._store, stage1, self._device_config)
        from codec.decode.diffusion.lite import LiteNetworks

        return LiteNetworks(network, vocabulary, first)

    def _diffbir(self, files: NetworkFiles) -> "Networks":
        network = load_diffbir(self._store, files, self._device_config)
        from codec.decode.diffusion.diffbir import DiffBIRNetworks

        networks = DiffBIRNetworks(network)
        if not self._device_config.is_graphed or networks.device.type != "cuda":
            return networks
        from codec.decode.diffusion.graphs import GraphedNetworks

        return cast("Networks", GraphedNetworks(networks))

    def _free_memory(self) -> None:
        # Modules refer to each other in circles, which only the collector takes apart.
        gc.collect()
        torch = sys.modules["torch"]
        if self._device_config.is_compiled:
            torch.compiler.reset()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _warm_up_together(restorer: Restorer, options: DecodeOptions) -> None:
    """Have the calls compiled or captured that requests of the usual size share, one of them alone first."""
    coarse = np.full((_WARM_UP_PX, _WARM_UP_PX, 3), 128, np.uint8)
    mask = np.ones((8, 8), np.uint8)
    request = RestoreRequest(coarse, Texts(("a thing",) * 3, "a picture"), (mask,) * 3, options, seed=0)
    for together in _WARM_UP_TOGETHER:
        states = [restorer.begin(request) for _ in range(together)]
        while not all(state.is_done or state.failure is not None for state in states):
            restorer.step(states)
