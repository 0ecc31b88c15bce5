"""The restorer that does nothing: the coarse picture, as the stream has it, is the picture."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.decode.restore import RestoreRequest


@dataclass
class CoarseState:
    """A request that is done before it begins."""

    coarse: npt.NDArray[np.uint8]
    failure: Exception | None = None
    is_done: bool = True
    steps_done: int = 0
    steps_total: int = 0
    batch_key: Hashable = None
    seconds: Mapping[Any, float] = field(default_factory=dict)

    def preview(self) -> Image.Image:
        """The coarse picture."""
        return Image.fromarray(self.coarse)


class CoarseAlone:
    """Hands every request its coarse picture back."""

    name = "none"
    generative = False
    weights: Mapping[str, str] = MappingProxyType({})

    def begin(self, request: RestoreRequest) -> CoarseState:
        """Nothing is checked, because nothing can go wrong."""
        return CoarseState(request.coarse)

    def step(self, states: Sequence[CoarseState]) -> None:
        """There are no steps."""

    def finish(self, state: CoarseState) -> Image.Image:
        """The coarse picture."""
        return state.preview()
