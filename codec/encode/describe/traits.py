"""Measures what a region looks like: colours, texture, shape, position and a few cautious likenesses. No wording."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, convolve1d

from codec.encode.describe.colours import Colour, main_colours
from codec.encode.describe.regions import Cut

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Likeness(StrEnum):
    """What a region resembles by colour, texture and place together; never a claim that it is that."""

    NONE = "none"
    """Nothing in particular."""
    SKY = "sky"
    """Blue or bright, smooth, wide, at the top edge."""
    FOLIAGE = "foliage"
    """Green and rough."""
    WATER = "water"
    """Blue to grey-green, wide, below the middle, its texture running across."""
    SKIN = "skin"
    """A compact, even patch in the narrow range of hues that skin has."""


class Shape(StrEnum):
    """The outline, seen from afar."""

    WHOLE = "whole"
    """All of the picture, or nearly."""
    SURROUND = "surround"
    """Reaches at least three edges of the picture, or lies behind most of it."""
    BAND = "band"
    """Much wider than high, and a good part of the picture's width."""
    COLUMN = "column"
    """Much higher than wide, and a good part of the picture's height."""
    STRIP = "strip"
    """Long and thin at a slant."""
    ROUND = "round"
    """Fills an ellipse that is nearly a circle."""
    BLOCK = "block"
    """Fills its upright bounding box."""
    COMPACT = "compact"
    """None of these, but of one piece without deep bays."""
    IRREGULAR = "irregular"
    """A ragged or branching outline."""


@dataclass(frozen=True)
class Traits:
    """One region's measurements. Places and extents are fractions of the picture, lightness and roughness are Lab's.

    `grain` is the direction of its stripes ("horizontal", "vertical", "diagonal") or "".
    """

    share: float
    colours: tuple[tuple[Colour, float], ...]
    lightness: float
    lightness_spread: float
    roughness: float
    grain: str
    shape: Shape
    x: float
    y: float
    width: float
    height: float
    likeness: Likeness


def measure(cut: Cut, region: int) -> Traits:
    """Traits of one region of a cut picture."""
    return measure_mask(cut, cut.labels == region)


def measure_mask(cut: Cut, mask: Mask) -> Traits:
    """Traits of any part of a cut picture, (H, W) with at least one pixel."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    # The rim mixes the region with its neighbours, which would make every small region look rough.
    core = binary_erosion(mask, iterations=2, border_value=1)
    if core.sum() < 20:
        core = mask
    lab = cut.lab[core]
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    touching = (top == 0, bottom == height, left == 0, right == width)
    x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
    share = mask.mean()
    grain = _grain(cut, core)
    roughness = float(cut.roughness[core].mean())
    colours = main_colours(lab)
    shape = _shape(mask, float(share), touching)
    extent = (right - left) / width, (bottom - top) / height
    mean = lab.mean(axis=0)
    likeness = _likeness(
        mean, colours[0][0].family, float(share), roughness, grain, shape, (float(x), float(y)), extent, touching
    )
    return Traits(
        share=float(share),
        colours=colours,
        lightness=float(mean[0]),
        lightness_spread=float(lab[:, 0].std()),
        roughness=roughness,
        grain=grain,
        shape=shape,
        x=float(x),
        y=float(y),
        width=float(extent[0]),
        height=float(extent[1]),
        likeness=likeness,
    )


def _grain(cut: Cut, core: Mask) -> str:
    """The direction of stripes, from the structure tensor over the region."""
    lightness = cut.lab[..., 0]
    slope = np.array([-0.5, 0.0, 0.5], np.float32)
    across, down = convolve1d(lightness, slope, axis=1)[core], convolve1d(lightness, slope, axis=0)[core]
    # Single strong edges inside a region are not stripes: no pixel counts for more than a moderate slope.
    strength = np.hypot(across, down)
    weight = np.minimum(1, 4 / np.maximum(strength, 1e-6))
    across, down = across * weight, down * weight
    xx, yy, xy = (float(v.mean()) for v in (across * across, down * down, across * down))
    energy = xx + yy
    if energy < 1.2 or np.hypot(xx - yy, 2 * xy) < 0.42 * energy:
        return ""
    # The tensor's angle is that of the slope; stripes run at right angles to it.
    angle = abs(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)))
    return "vertical" if angle < 22.5 else "horizontal" if angle > 67.5 else "diagonal"


def _shape(mask: Mask, share: float, touching: tuple[bool, ...]) -> Shape:
    height, width = mask.shape
    if share > 0.9:
        return Shape.WHOLE
    rows, columns = np.nonzero(mask)
    box = (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1)
    fill = rows.size / (box[0] * box[1])
    if (sum(touching) >= 3 and share > 0.3 and min(box[0] / height, box[1] / width) > 0.6) or share > 0.55:
        return Shape.SURROUND
    if box[1] > 2.2 * box[0] and box[1] > 0.4 * width and fill > 0.45:
        return Shape.BAND
    if box[0] > 2 * box[1] and box[0] > 0.4 * height and fill > 0.45:
        return Shape.COLUMN
    spread = np.cov(np.stack([rows, columns])) if rows.size > 1 else np.eye(2)
    small, large = np.linalg.eigvalsh(spread + np.eye(2) / 12)
    # An ellipse with these variances has this area; a region that fills it is of one round piece.
    ellipse = 4 * np.pi * np.sqrt(small * large)
    solidity = rows.size / ellipse
    if fill > 0.86:
        return Shape.BLOCK
    if large > 12 * small and solidity > 0.7:
        return Shape.STRIP
    if solidity > 0.93 and large < 2.2 * small and 0.68 < fill < 0.86 and not any(touching):
        return Shape.ROUND
    wide = box[1] > 0.8 * width or box[0] > 0.8 * height
    return Shape.COMPACT if solidity > 0.8 and not wide and _raggedness(mask) < 2.2 else Shape.IRREGULAR


def _raggedness(mask: Mask) -> float:
    """Length of the outline over that of a disc of equal area; about 1.3 for any smooth compact shape."""
    outline = np.count_nonzero(mask[:, 1:] != mask[:, :-1]) + np.count_nonzero(mask[1:] != mask[:-1])
    return float(outline / np.sqrt(4 * np.pi * mask.sum()))


def _likeness(
    mean: Floats,
    family: str,
    share: float,
    roughness: float,
    grain: str,
    shape: Shape,
    place: tuple[float, float],
    extent: tuple[float, float],
    touching: tuple[bool, ...],
) -> Likeness:
    lightness, a, b = (float(value) for value in mean)
    chroma = float(np.hypot(a, b))
    hue = float(np.degrees(np.arctan2(b, a))) % 360
    y = place[1]
    on_top = touching[0] and not touching[1] and y < 0.42 and extent[0] > 0.45 and extent[1] < 0.8
    blueish = chroma > 4 and 200 < hue < 290 and lightness > 40
    # A pale wall or backdrop looks the same, but seldom reaches from one side to the other above everything else.
    pale = family in ("white", "grey", "beige") and lightness > 72 and chroma < 16 and touching[2] and touching[3]
    if on_top and roughness < 5 and (blueish or pale):
        return Likeness.SKY
    if family == "green" and roughness > 4.5 and chroma > 10 and 95 < hue < 165 and share > 0.02:
        return Likeness.FOLIAGE
    watery = (140 < hue < 290 and chroma > 3) or family in ("teal", "blue")
    if watery and y > 0.5 and extent[0] > 0.7 and extent[1] < 0.75 and grain in ("", "horizontal") and roughness < 9:
        return Likeness.WATER
    skin_hue = 38 < hue < 66 and 14 < chroma < 42 and 42 < lightness < 86 and roughness < 8
    of_a_piece = shape in (Shape.ROUND, Shape.COMPACT, Shape.COLUMN) and sum(touching) <= 1
    return Likeness.SKIN if skin_hue and of_a_piece and 0.012 < share < 0.4 else Likeness.NONE
