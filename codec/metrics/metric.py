"""What a measure of quality is: a name, a direction and a figure for a picture beside its original."""

import hashlib
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image


class Undefined(Exception):
    """The figure does not exist for these two pictures; the message says why. Not a failure of the comparison."""


class View:
    """A picture (mode RGB) in the forms that metrics read; each is made once, when it is first asked for."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self.memo: dict[str, Any] = {}
        """What a metric has worked out of this picture alone, by the metric's name."""

    @cached_property
    def digest(self) -> str:
        """Names the picture by its content."""
        return hashlib.sha256(repr(self.picture.size).encode() + self.picture.tobytes()).hexdigest()

    @property
    def short_side_px(self) -> int:
        """The shorter side."""
        return min(self.picture.size)

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        return np.asarray(self.picture)

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(1, 3, H, W) float32 in [0, 1]."""
        return torch.from_numpy(self.pixels.copy()).permute(2, 0, 1)[None].float() / 255


class Metric(Protocol):
    """A figure for one picture."""

    @property
    def name(self) -> str:
        """As reports call it; CompressAI's name where it has one."""

    @property
    def is_distance(self) -> bool:
        """True when less is better."""

    def score(self, original: View, candidate: View) -> float:
        """The figure for a candidate of the original's size. Raises Undefined where there is none."""


def require_side(original: View, least_px: int) -> None:
    """Raise Undefined when the picture's shorter side has fewer pixels."""
    if original.short_side_px < least_px:
        raise Undefined(f"defined from {least_px} pixels a side on")
