"""The stream's item maps as arrays, and scaled to the picture. It decides nothing about how they are used."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.stream import Maps
from codec.options import MaskEdges


def map_arrays(maps: Maps | None) -> tuple[npt.NDArray[np.uint8], ...]:
    """One (edge, edge) uint8 array of 0 and 1 per item; none without maps."""
    if maps is None:
        return ()
    return tuple(np.frombuffer(mask, dtype=np.uint8).reshape(maps.edge, maps.edge) for mask in maps.masks)


def scale_map(
    values: npt.NDArray[np.uint8], width: int, height: int, edges: MaskEdges = MaskEdges.SOFT
) -> npt.NDArray[np.float32]:
    """A map at the picture's own shape: (height, width) float32 in [0, 1].

    Hard edges are those of the published `mask_block`: what is left over of a side makes the first blocks a pixel
    longer each. The published code then scales maps as if every long edge were 1024, which shifts them on all others.
    """
    if edges is MaskEdges.HARD:
        rows = np.repeat(values, _block_lengths(height, values.shape[0]), axis=0)
        return np.repeat(rows, _block_lengths(width, values.shape[1]), axis=1).astype(np.float32)
    grey = Image.fromarray(values * np.uint8(255))
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / np.float32(255)


def _block_lengths(length: int, blocks: int) -> list[int]:
    return [length // blocks + (index < length % blocks) for index in range(blocks)]
