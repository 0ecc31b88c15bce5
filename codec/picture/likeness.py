"""A perceptual hash: 64 bits of which pictures that look alike differ in few. Knows no archive."""

import numpy as np
from PIL import Image

_EDGE_PX, _KEPT = 32, 8
_PLACES = (2 * np.arange(_EDGE_PX) + 1) * np.pi / (2 * _EDGE_PX)
_WAVES = np.cos(np.outer(np.arange(_KEPT), _PLACES))
"""The lowest waves of a discrete cosine transform, (8, 32)."""


def perceptual_hash(picture: Image.Image) -> int:
    """Of a picture (RGB): which of its 64 lowest frequencies are above their median (pHash, Zauner 2010, section 3.2).

    The same for a picture of another size or another quality but for a few bits; a signed number of 64 bits.
    """
    small = picture.resize((_EDGE_PX, _EDGE_PX), Image.Resampling.BILINEAR).convert("L")
    # Rounded, since what is nothing but rounding errors in an even picture would be a coin's toss.
    frequencies = np.round(_WAVES @ np.asarray(small, np.float64) @ _WAVES.T, 6).ravel()
    bits = frequencies > np.median(frequencies[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big", signed=True)


def distance(left: int, right: int) -> int:
    """In how many of the 64 bits two hashes differ."""
    return ((left ^ right) & (2**64 - 1)).bit_count()
