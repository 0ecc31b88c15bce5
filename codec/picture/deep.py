"""All bits of a picture with more than 8, where its colours need them: HDR and linear light show bands in 8.

The readers' own way keeps 8 bits, which is enough for colours that are spaced as eyes see them.
"""

import io
from typing import IO

import numpy as np
from numpy.typing import NDArray

from codec.picture.formats import Format

_RAW_MODES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow's names of 16-bit samples; those of the wrong byte order keep the lower half."""


def deep_pixels(file: IO[bytes], format_: Format) -> NDArray[np.uint16] | None:
    """(height, width, 3 or 4) from 0 to 65535 of a PNG or HEIC file whose size was checked; None for 8 bits and for
    other formats, whose readers have no more. Raises what the reader raises."""
    file.seek(0)
    if format_.name == "HEIC":
        from pillow_heif import open_heif

        image = open_heif(file, convert_hdr_to_8bit=False)
        if image.mode not in ("RGB;16", "RGBA;16"):
            return None
        return np.array(image, dtype=np.uint16)
    if format_.name != "PNG":
        return None
    data = io.BytesIO(file.read())
    upper = format_.open(data)
    tile = upper.tile[0]  # type: ignore[attr-defined]
    if tile.args not in _RAW_MODES:
        return None
    high = np.array(upper).astype(np.uint16) * np.uint16(256)
    data.seek(0)
    lower = format_.open(data)
    lower.tile = [tile._replace(args=_RAW_MODES[tile.args])]  # type: ignore[attr-defined]
    high += np.asarray(lower).astype(np.uint16)
    return high
