"""Small files of a picture for people to look at: a thumbnail, and an AVIF file within a number of bytes."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.errors import FeatureUnavailable
from codec.picture.avif import MAX_QUALITY, AVIFSetting, write_avif
from codec.picture.coded import read_coded
from codec.picture.resize import reduce_by

_SCALES = (1, 2, 3, 4, 6, 8)
_SPEED = 8
"""Of libaom: a fraction of the time of its slow speeds for a tenth more bytes."""

_MOST_CODED_PX = 600_000
"""At the rates of this archive more pixels than these only cost time: a coarser scale wins."""

_COMPARED_PX = 1_000_000
"""Pixels at which candidates are held against the picture."""


def thumbnail(picture: Image.Image, edge_px: int) -> bytes:
    """The RGB picture as WebP, its longer side at most `edge_px`."""
    small = picture.copy()
    small.thumbnail((edge_px, edge_px), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=70, method=4)
    return out.getvalue()


def avif_within(picture: Image.Image, limit_bytes: int) -> bytes | None:
    """A whole AVIF file of at most so many bytes: of the scales from 1 to 1/8 the one that, enlarged again, differs
    least from the RGB picture by the mean of squares. None where no scale gets so small.

    Raises FeatureUnavailable where the imaging library cannot write AVIF.
    """
    compared = _compared(picture, picture.size)
    best: tuple[float, bytes] | None = None
    for scale in reversed(_SCALES):
        reduced = reduce_by(picture, scale)
        if reduced.width * reduced.height > _MOST_CODED_PX and scale != _SCALES[-1]:
            break
        file = _highest_quality_within(reduced, limit_bytes)
        if file is None:
            # A finer scale has more to code: at its lowest quality it is larger still.
            break
        shown = _compared(read_coded("avif", file, *reduced.size), picture.size)
        error = float(np.mean((shown - compared) ** 2))
        if best is not None and error >= best[0]:
            break
        best = error, file
    return None if best is None else best[1]


def _highest_quality_within(picture: Image.Image, limit_bytes: int) -> bytes | None:
    best: bytes | None = None
    low, high = 0, MAX_QUALITY
    while low <= high:
        quality = (low + high) // 2
        try:
            file = write_avif(picture, AVIFSetting(quality, _SPEED))
        except (OSError, ValueError, RuntimeError) as error:
            raise FeatureUnavailable(f"The imaging library cannot write this picture as AVIF ({error}).") from None
        if len(file) <= limit_bytes:
            best, low = file, quality + 1
        else:
            high = quality - 1
    return best


def _compared(picture: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 255]: the picture as if it had that size, at most _COMPARED_PX of it."""
    factor = min(1.0, (_COMPARED_PX / (size[0] * size[1])) ** 0.5)
    target = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    return np.asarray(picture.resize(target, Image.Resampling.BICUBIC), dtype=np.float32)
