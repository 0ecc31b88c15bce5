"""How much grain a picture has: noise without any shape, of film or sensor, that no coarse picture keeps."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.grain import GRAIN_STEP

_TILE_PX, _MAX_TILES = 128, 128
"""Squares in which is looked, and how many at most, spread over the picture."""

_BLOCK = 4
"""Edge of the blocks, in coefficients of the coarser scale, whose energies are compared; twice that on the finer."""

_FLATTEST = 0.1
"""Share of the blocks that are taken for flat, where next to nothing but grain is seen."""

_GRAIN_OF_FLATTEST = 0.886
"""Root mean square of a finer block at that share in pure white noise of deviation 1, as drawn."""

_CONTENT_RATIO = 2.2
"""By which the detail of what a picture shows at least rises from the finer scale to the coarser one; white noise has
as much in both. Walls, leaves and water of Kodak's and of generated pictures have 2.1 to 3.5."""

_MIN_GRAIN, _MAX_GRAIN = 0.5, 4.0
"""Grey levels. Less is next to what rounding to 8 bits makes, and more is rather rain or sand."""

Values = npt.NDArray[np.float32]


def grain_of(picture: Image.Image) -> float:
    """Standard deviation of the luma's grain in grey levels of 8 bits, in steps of the format; 0 where none is seen.

    White noise has as much energy in the diagonal detail of one scale as of the next, what a picture shows has more in
    the coarser one. So the flattest blocks' energies at two scales tell how much of the finer one is noise.
    """
    fine, coarse = [], []
    for tile in _tiles(picture):
        smooth, detail = _diagonal(tile)
        fine.append(_energies(detail, 2 * _BLOCK))
        coarse.append(_energies(_diagonal(smooth)[1], _BLOCK))
    if not fine:
        return 0.0
    finer, coarser = (float(np.quantile(np.concatenate(each), _FLATTEST)) for each in (fine, coarse))
    noise = (_CONTENT_RATIO**2 * finer - coarser) / (_CONTENT_RATIO**2 - 1)
    deviation = np.sqrt(max(0.0, noise)) / _GRAIN_OF_FLATTEST
    return GRAIN_STEP * round(min(deviation, _MAX_GRAIN) / GRAIN_STEP) if deviation >= _MIN_GRAIN else 0.0


def _tiles(picture: Image.Image) -> list[Values]:
    """Lumas of squares spread evenly over the picture; of one that is smaller than a square, all of it."""
    edge = 4 * _BLOCK
    width, height = (min(_TILE_PX, side // edge * edge) for side in picture.size)
    if not width or not height:
        return []
    columns, rows = picture.width // width, picture.height // height
    places = [(column * width, row * height) for row in range(rows) for column in range(columns)]
    chosen = places[:: -(-len(places) // _MAX_TILES)]
    tiles = (picture.crop((left, top, left + width, top + height)).convert("F") for left, top in chosen)
    return [np.asarray(tile, np.float32) for tile in tiles]


def _diagonal(values: Values) -> tuple[Values, Values]:
    """One step of Haar's transform: the smooth part, and the detail that neither rows nor columns have."""
    a, b, c, d = values[::2, ::2], values[::2, 1::2], values[1::2, ::2], values[1::2, 1::2]
    return (a + b + c + d) / 2, (a - b - c + d) / 2


def _energies(detail: Values, edge: int) -> Values:
    """Mean squares of all whole blocks."""
    rows, columns = (side // edge for side in detail.shape)
    blocks = detail[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge)
    return np.asarray((blocks**2).mean((1, 3))).ravel()
