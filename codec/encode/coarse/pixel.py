"""The pixel mode: averages of a few blocks, each channel floored to a multiple of 2**level."""

import numpy as np
from PIL import Image

from codec.bitstream.pixels.payload import standard_grid
from codec.bitstream.stream import PixelCoarse
from codec.limits import MAX_BLOCKS


def published_grid(width: int, height: int, block_num_min: int) -> tuple[int, int]:
    """Columns and rows as the published code lays them out: `block_num_min` is its smallest block *edge*, not a
    number of blocks, and what is left over of a side makes no block of its own. At least one block, where that code
    fails, and at most MAX_BLOCKS a side."""
    edge = max(max(width, height) // 16, block_num_min)
    return max(1, min(width // edge, MAX_BLOCKS)), max(1, min(height // edge, MAX_BLOCKS))


def encode_pixel_coarse(picture: Image.Image, blocks: int, level: int, *, published: bool = False) -> PixelCoarse:
    """Reduce an RGB picture to its block averages.

    `blocks` in [1, MAX_BLOCKS] is the number of blocks along the long edge, with `published` the smallest block edge
    in pixels, and the filter is bicubic as there; a picture with fewer pixels than blocks gets one block a pixel.
    `level` in [0, 7]: low bits dropped.
    """
    kernel = Image.Resampling.BICUBIC if published else Image.Resampling.BOX
    if published:
        columns, rows = published_grid(picture.width, picture.height, blocks)
    else:
        columns, rows = standard_grid(picture.width, picture.height, min(blocks, max(picture.size)))
    averages = np.asarray(picture.resize((columns, rows), kernel), dtype=np.uint8)
    return PixelCoarse(columns, rows, level, (averages >> level).tobytes())
