"""The interface of restorers, which turn a coarse picture into a finished one, and the list of those known.

A restorer works step by step on states that it is handed, so that a decode engine may advance many requests
together, look at their progress and drop one between two steps.
"""

import importlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.stream import Coarse, Texts
from codec.errors import FeatureUnavailable
from codec.options import DecodeOptions, RestorerName

if TYPE_CHECKING:
    from codec.decode.diffusion.networks import Networks
    from codec.nets.lite.rrdbnet import RRDBNet


@dataclass(frozen=True)
class RestoreRequest:
    """All that a restorer may use.

    `coarse`: (H, W, 3) uint8 in the picture's full size. `maps`: one (edge, edge) uint8 array of 0 and 1 per item, in
    the order of `texts.details`. `seed`: source of all randomness. `coarse_payload`: what the coarse picture was
    rebuilt from, for restorers that hold their picture to what the stream says; None when it is not known. `grain`: the
    standard deviation of the original's noise in grey levels, for restorers that paint none of their own.
    """

    coarse: npt.NDArray[np.uint8]
    texts: Texts
    maps: tuple[npt.NDArray[np.uint8], ...]
    options: DecodeOptions
    seed: int
    coarse_payload: Coarse | None = None
    grain: float = 0.0


class RestoreState(Protocol):
    """One request under way. Only its restorer knows what else is in it."""

    failure: Exception | None
    """Why the request cannot be finished; a state that has one is advanced no further."""

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken."""

    @property
    def steps_done(self) -> int:
        """Steps taken so far."""

    @property
    def steps_total(self) -> int:
        """Steps after which the picture can be finished; may be 0."""

    @property
    def batch_key(self) -> Hashable:
        """What the next step has in common with those that it can be taken together with; None for one taken alone."""

    @property
    def seconds(self) -> Mapping[Any, float]:
        """Seconds so far by stage, for restorers that have stages."""

    def preview(self) -> Image.Image:
        """The picture as it stands, mode RGB, at any size."""


class Restorer(Protocol):
    """Makes pictures out of requests."""

    weights: Mapping[str, str]
    """SHA-256 of its networks' files by part; empty where it has none, or where they are of no file."""

    @property
    def name(self) -> str:
        """The name that options and metadata use."""

    @property
    def generative(self) -> bool:
        """True when it may invent detail; written into the metadata of every picture."""

    def begin(self, request: RestoreRequest) -> RestoreState:
        """Check the request and prepare its state. Raises OptionError for options that cannot be met."""

    def step(self, states: Sequence[Any]) -> None:
        """Advance every state, each begun by this restorer, by one step.

        Raises nothing for a request that cannot go on: its state's `failure` says why, and its neighbours are advanced
        all the same. States that are done or have failed stay as they are.
        """

    def finish(self, state: Any) -> Image.Image:
        """The finished picture, mode RGB, of the coarse picture's size; takes the steps that have not been taken.

        Raises the state's `failure`.
        """


_KNOWN = {
    RestorerName.SMOOTH: ("codec.decode.restore.smooth", "Smooth"),
    RestorerName.GAN: ("codec.decode.restore.gan", "GANRestorer"),
    RestorerName.DIFFUSION: ("codec.decode.diffusion.restorer", "DiffusionRestorer"),
    RestorerName.NONE: ("codec.decode.restore.coarse", "CoarseAlone"),
}
"""Name to module and class. Imported on first use, so that a light restorer never loads a heavy one's libraries."""

NEEDS_NETWORKS = {RestorerName.GAN, RestorerName.DIFFUSION}
"""Those that restore by networks, which have to be loaded first."""


def run_to_end(restorer: Restorer, state: RestoreState) -> None:
    """Take all steps of one request alone; raises its failure."""
    while not state.is_done and state.failure is None:
        restorer.step([state])
    if state.failure is not None:
        raise state.failure


def get_restorer(name: RestorerName, networks: "Networks | RRDBNet | None" = None) -> Restorer:
    """The restorer of this name, on `networks` if it is one that needs some.

    Making one of those takes a moment, and it serves any number of requests: keep it. Raises FeatureUnavailable where
    networks are needed and none are given.
    """
    if name in NEEDS_NETWORKS and networks is None:
        raise FeatureUnavailable(f"The restorer {name} needs networks, and none are loaded here.")
    module, kind = _KNOWN[name]
    make = getattr(importlib.import_module(module), kind)
    restorer: Restorer = make(networks) if name in NEEDS_NETWORKS else make()
    return restorer
