"""What the tagger's networks saw in a picture, as numbers. Needs no PyTorch."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture; edges are fractions of its width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def overlap(self, other: "Rectangle") -> float:
        """The area of both as a share of the smaller one's."""
        both = Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )
        return both.area / max(min(self.area, other.area), 1e-9)


WHOLE = Rectangle(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Box:
    """A thing that was detected, by its name in COCO, with the detector's score in [0, 1]."""

    name: str
    score: float
    rectangle: Rectangle


@dataclass(frozen=True)
class View:
    """A part of the picture as the classifier saw it: (1000,) probabilities of ImageNet's classes."""

    rectangle: Rectangle
    probabilities: Floats


@dataclass(frozen=True)
class Sighting:
    """All that was seen, whatever the picture's shape.

    `mask`: (S, S) in [0, 1], how much each place stands out. `parts`: (S, S) bool, one for each piece of it, largest
    first. `whole`: the view of the whole picture; `part_views` and `box_views` go with `parts` and `boxes`. `places`:
    (h, w, 1000) logits of the whole picture place by place.
    """

    mask: Floats
    parts: tuple[npt.NDArray[np.bool_], ...]
    boxes: tuple[Box, ...]
    whole: View
    part_views: tuple[View, ...]
    box_views: tuple[View, ...]
    places: Floats


class PictureTagger(Protocol):
    """Looks at pictures; threads may share one."""

    def look(self, picture: Image.Image) -> Sighting:
        """What is seen in an upright RGB picture of any size."""
