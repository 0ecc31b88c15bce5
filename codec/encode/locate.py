"""Where each item is: similarity maps reduced to one bit a block. Who makes the maps is not decided here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.transform import resize

from codec.bitstream.stream import Maps

MAP_EDGE = 8
"""Blocks along a map's edge, as published."""

THRESHOLD = 0.35
"""Share of full similarity above which a block belongs to the item, as published."""


def masks_from_maps(maps: Sequence[npt.NDArray[np.floating[Any]]], edge: int = MAP_EDGE) -> Maps:
    """Reduce maps, each (H', W') of any float range, to edge x edge bits each.

    As the published code does: min-max normalised per item, taken to 8 bits, reduced with anti-aliasing and mirrored
    borders, compared with THRESHOLD. A map without contrast, or with values that are no numbers, marks nothing.
    """
    return Maps(edge, tuple(_mask(values, edge) for values in maps))


def _mask(values: npt.NDArray[np.floating[Any]], edge: int) -> bytes:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all() or high <= low:
        return bytes(edge * edge)
    grey = ((values - low) / (high - low) * 255).astype(np.uint8)
    reduced = resize(grey, (edge, edge), mode="reflect", anti_aliasing=True)
    return bytes((reduced > THRESHOLD).astype(np.uint8).tobytes())
