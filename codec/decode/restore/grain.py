"""Grain for a restored picture: noise of the strength that the original's had, the same wherever the seed is."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_STRIP_PIXELS = 1_000_000

_BYTES = 8
"""Of a random word, whose sum is near enough to a normal deviate."""

_MEAN, _DEVIATION = _BYTES * 127.5, float(np.sqrt(_BYTES * (256**2 - 1) / 12))

_FADE_LEVELS = 16
"""Grey levels from black and from white over which grain fades: film and sensors show none where they are full."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Bytes = npt.NDArray[np.uint8]


def add_grain(picture: Bytes, deviation: float, seed: int) -> None:
    """Add to all three channels of (H, W, 3), in place, noise of a standard deviation in grey levels."""
    height, width = picture.shape[:2]
    for rows, noise in _noise(height, width, seed):
        strip = picture[rows].astype(np.float32)
        luma = strip @ _LUMA
        strength = np.clip(np.minimum(luma, 255 - luma) / _FADE_LEVELS, 0, 1) * deviation
        strip += (strength * noise)[..., None]
        picture[rows] = np.clip(np.rint(strip), 0, 255).astype(np.uint8)


def _noise(height: int, width: int, seed: int) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Strips of rows with their white noise of deviation 1.

    Summed from the generator's raw bytes, because how a library draws normal deviates may change with its versions.
    """
    words = np.random.Philox(key=seed)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        drawn = words.random_raw(count * width).astype("<u8", copy=False).view(np.uint8)
        sums = drawn.reshape(count, width, _BYTES).sum(2, dtype=np.float32)
        yield slice(top, top + count), (sums - np.float32(_MEAN)) / np.float32(_DEVIATION)
