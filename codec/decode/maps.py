"""The stream's item maps as arrays, and scaled to the picture. It decides nothing about how they are used."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.stream import Maps


def map_arrays(maps: Maps | None) -> tuple[npt.NDArray[np.uint8], ...]:
    """One (edge, edge) uint8 array of 0 and 1 per item; none without maps."""
    if maps is None:
        return ()
    return tuple(np.frombuffer(mask, dtype=np.uint8).reshape(maps.edge, maps.edge) for mask in maps.masks)


def scale_map(values: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.float32]:
    """A map at the picture's own shape: (height, width) float32 in [0, 1], with soft borders.

    The published code scales maps as if every picture were square, which shifts them on all others.
    """
    grey = Image.fromarray(values * np.uint8(255))
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / np.float32(255)
