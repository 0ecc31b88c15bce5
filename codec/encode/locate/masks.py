"""Similarity maps become one bit a block, as the published code makes them. Who makes the maps is not decided here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.bitstream.stream import Maps

MAP_EDGE = 8
"""Blocks along a map's edge, as published."""

THRESHOLD = 0.35
"""Share of full similarity above which a block belongs to the item, as published."""

SimilarityMap = npt.NDArray[np.floating[Any]] | npt.NDArray[np.uint8]
"""(H', W'): floats of any range, or 8-bit grey whose 0 and 255 are the item's least and greatest similarity."""


def masks_from_maps(maps: Sequence[SimilarityMap], edge: int = MAP_EDGE) -> Maps:
    """Reduce maps to edge x edge bits each.

    As the published code does: min-max normalised per item, taken to 8 bits, reduced with anti-aliasing and mirrored
    borders, compared with THRESHOLD. Maps of 8 bits are taken as they are: a locator that normalises before it
    enlarges, as CLIP Surgery does, would not reach the published bits if its maps were stretched again. A map of
    floats without contrast, or with values that are no numbers, marks nothing.
    """
    return Maps(edge, tuple(_mask(values, edge) for values in maps))


def reduce_map(grey: npt.NDArray[np.uint8], edge: int) -> npt.NDArray[np.float64]:
    """Reduce an 8-bit map, (H', W'), to (edge, edge) in [0, 1].

    The same numbers as `skimage.transform.resize(grey, (edge, edge), mode="reflect")`, which filters every pixel and
    keeps edge x edge of them: half a second to seconds for a map of a megapixel. Filter and interpolation are linear
    and separable, so that one small matrix an axis does both.
    """
    rows, columns = (_reduction(length, edge) for length in grey.shape)
    reduced: npt.NDArray[np.float64] = rows @ grey.astype(np.float64) @ columns.T / 255
    return reduced


def _mask(values: SimilarityMap, edge: int) -> bytes:
    return bytes((reduce_map(_as_grey(values), edge) > THRESHOLD).astype(np.uint8).tobytes())


def _as_grey(values: SimilarityMap) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all() or high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return ((values - low) / (high - low) * 255).astype(np.uint8)


def _reduction(length: int, edge: int) -> npt.NDArray[np.float64]:
    """(edge, length): each row the weights by which one block is made of a line of `length` values.

    Gaussian of deviation (factor - 1) / 2 cut at 4 deviations, then linear interpolation at the blocks' centres, with
    borders mirrored about the outermost value (scikit-image's `resize`, SciPy's `gaussian_filter` and `zoom`).
    """
    factor = length / edge
    sigma = max(0.0, (factor - 1) / 2)
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma > 0 else np.ones(1)
    kernel /= kernel.sum()
    centres = (np.arange(edge) + 0.5) * factor - 0.5
    left = np.floor(centres).astype(np.int64)
    share = centres - left
    weights = np.zeros((edge, length))
    for block in range(edge):
        for start, part in ((left[block], 1 - share[block]), (left[block] + 1, share[block])):
            np.add.at(weights[block], _mirrored(_mirrored(start, length) + offsets, length), part * kernel)
    return weights


def _mirrored(positions: npt.NDArray[np.int64] | np.int64, length: int) -> npt.NDArray[np.int64]:
    period = max(2 * (length - 1), 1)
    folded = np.abs(positions) % period
    return np.minimum(folded, period - folded) if length > 1 else np.zeros_like(folded)
