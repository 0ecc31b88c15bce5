"""All bits of a picture with more than 8, where its colours are not sRGB: converted from 8 they are off by many levels.

The readers' own way keeps 8 bits, which is enough for colours that stay what they are. Of AVIF and JPEG XL only
`imagecodecs` gives all.
"""

import importlib.util
import io
from typing import IO

import numpy as np
from numpy.typing import NDArray

from codec.errors import PictureUnsupported
from codec.picture.colour import ColourSignal
from codec.picture.formats import Format

_RAW_MODES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow's names of 16-bit samples; those of the wrong byte order keep the lower half."""

ONLY_DEEP = ("AVIF", "JPEG XL")
"""Formats of which 8 bits are not taken where more are needed."""


def is_needed(format_: Format, bits: int, signal: ColourSignal | None, *, has_profile: bool) -> bool:
    """Whether a picture of `bits` a channel comes out wrong by the reader's 8; `has_profile` of other colours
    than sRGB.

    Raises PictureUnsupported where that is so and nothing here gives more.
    """
    if signal is not None and signal.is_hdr and format_.name == "TIFF":
        raise PictureUnsupported(
            f"The TIFF file has colours of HDR ({signal.name}), which are read of PNG. Convert it."
        )
    has_other_colours = signal is not None or has_profile
    if format_.name not in ONLY_DEEP:
        return has_other_colours
    is_wanted = bits > 8 and has_other_colours
    if is_wanted and importlib.util.find_spec("imagecodecs") is None:
        words = signal.name if signal is not None else "a colour profile of its own"
        raise PictureUnsupported(
            f"The {format_.name} file has {bits} bits a channel and {words}, which the package imagecodecs reads, and "
            "it is not installed here. Install it, or convert the picture to PNG."
        )
    return is_wanted


def deep_pixels(file: IO[bytes], format_: Format, bits: int) -> NDArray[np.uint16] | None:
    """(height, width, 3 or 4) from 0 to 65535 of a file of `bits` a channel whose size was checked; None for 8 bits
    and for formats whose readers have no more. Raises what the reader raises."""
    file.seek(0)
    if format_.name in ONLY_DEEP:
        return _by_imagecodecs(file.read(), format_, bits)
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


def _by_imagecodecs(data: bytes, format_: Format, bits: int) -> NDArray[np.uint16] | None:
    import imagecodecs

    decode = imagecodecs.avif_decode if format_.name == "AVIF" else imagecodecs.jpegxl_decode
    samples = decode(data, index=0, numthreads=1)
    if samples.dtype != np.uint16:
        return None
    scaled = (samples.astype(np.uint32) * 65535 // ((1 << bits) - 1)).astype(np.uint16)
    if scaled.ndim == 2 or scaled.shape[2] < 3:
        grey = scaled.reshape(*scaled.shape[:2], -1)
        scaled = np.concatenate([np.repeat(grey[..., :1], 3, axis=-1), grey[..., 1:]], axis=-1)
    return scaled
