"""A pass's two ends in picture space: the raised and padded picture that goes in, the finished one that comes out."""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from codec.decode.maps import scale_map
from codec.decode.restore.colour import colour_fix_of
from codec.options import ColourFix, MaskEdges
from codec.working_size import WorkingSize

Bytes = npt.NDArray[np.uint8]

_STRIP_PIXELS = 2_000_000
_COLOUR_REACH_PX = 31
"""Rows to either side that the colour fix looks at: 1 + 2 + 4 + 8 + 16."""


def raised(picture: Bytes, size: WorkingSize, *, pads_with_zeros: bool) -> torch.Tensor:
    """`picture`, (H, W, 3), at its working size as (1, 3, padded height, padded width) uint8; bicubic, as published."""
    if picture.shape[:2] != (size.height, size.width):
        enlarged = Image.fromarray(picture).resize((size.width, size.height), Image.Resampling.BICUBIC)
        picture = np.asarray(enlarged)
    ends = ((0, size.padded_height - size.height), (0, size.padded_width - size.width), (0, 0))
    padded = np.pad(picture, ends, mode="constant" if pads_with_zeros else "edge")
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]


def lowered(
    decoded: torch.Tensor,
    cleaned: torch.Tensor,
    size: WorkingSize,
    width: int,
    height: int,
    colour_fix: ColourFix = ColourFix.WAVELET,
) -> Bytes:
    """The decoded picture with the colours of the cleaned one, cropped to the picture, at the original size.

    Both are (1, 3, padded height, padded width) float32 in main memory; values are cut to [0, 1] and to whole levels
    without rounding, as published. Works in strips, whose result is that of the whole.
    """
    fix_colours = colour_fix_of(colour_fix, decoded, cleaned)
    restored = np.empty((size.height, size.width, 3), np.uint8)
    strip_rows = max(_COLOUR_REACH_PX, _STRIP_PIXELS // size.padded_width)
    for top in range(0, size.height, strip_rows):
        bottom = min(size.height, top + strip_rows)
        first, last = max(0, top - _COLOUR_REACH_PX), min(size.padded_height, bottom + _COLOUR_REACH_PX)
        fixed = fix_colours(decoded[:, :, first:last], cleaned[:, :, first:last])
        inner = fixed[0, :, top - first : bottom - first, : size.width]
        restored[top:bottom] = (inner.clamp(0, 1) * 255).permute(1, 2, 0).to(torch.uint8).numpy()
    if (size.width, size.height) == (width, height):
        return restored
    return np.asarray(Image.fromarray(restored).resize((width, height), Image.Resampling.BICUBIC))


def blended(picture: Bytes, restored: Bytes, mask: npt.NDArray[np.uint8], edges: MaskEdges = MaskEdges.SOFT) -> Bytes:
    """`restored` inside the map and `picture` outside, both (H, W, 3), at the picture's own shape."""
    height, width = picture.shape[:2]
    inside = scale_map(mask, width, height, edges)
    result = np.empty_like(picture)
    strip_rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip_rows):
        rows = slice(top, top + strip_rows)
        below = picture[rows].astype(np.float32)
        mixed = below + inside[rows, :, None] * (restored[rows] - below)
        result[rows] = np.rint(mixed).astype(np.uint8)
    return result
