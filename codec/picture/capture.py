"""When and where a picture was taken, as its EXIF says. Decodes no pixel; a stream itself never holds this."""

import math
import re
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

from codec.limits import MAX_PIXELS
from codec.picture.open import opened_header

_DATE, _OFFSET, _PLAIN_DATE, _EXIF, _GPS = 36867, 36881, 306, 0x8769, 0x8825
_LATITUDE_SIDE, _LATITUDE, _LONGITUDE_SIDE, _LONGITUDE, _HEIGHT_SIDE, _HEIGHT = 1, 2, 3, 4, 5, 6

_UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError, EOFError,
    struct.error,
)  # fmt: skip
"""What the library raises at directories of tags that are damaged."""


@dataclass(frozen=True)
class Capture:
    """`taken_at` in ISO 8601, with an offset where the camera knew it; degrees north and east, metres above the sea."""

    taken_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None


def capture_of(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Capture:
    """What the file says; None for all that it does not, or not in a form that can be read. Errors as those of
    `codec.picture.open`."""
    with opened_header(source, max_pixels=max_pixels) as image:
        try:
            exif = _exif_of(image, source)
            details, gps = exif.get_ifd(_EXIF), exif.get_ifd(_GPS)
        except _UNREADABLE:
            return Capture()
    return Capture(
        _moment(details.get(_DATE) or exif.get(_PLAIN_DATE), details.get(_OFFSET)),
        _degrees(gps.get(_LATITUDE), gps.get(_LATITUDE_SIDE), "S", 90),
        _degrees(gps.get(_LONGITUDE), gps.get(_LONGITUDE_SIDE), "W", 180),
        _metres(gps.get(_HEIGHT), gps.get(_HEIGHT_SIDE)),
    )


def _exif_of(image: Image.Image, source: Path | bytes) -> Image.Exif:
    if image.format != "TIFF" or isinstance(source, bytes):
        return image.getexif()
    with source.open("rb") as file:
        # Its tags are the file's own, which the reader of samples keeps to itself.
        exif = TiffImagePlugin.TiffImageFile(file).getexif()
        for directory in (_EXIF, _GPS):
            exif.get_ifd(directory)
        return exif


def _moment(date: object, offset: object) -> str | None:
    found = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", str(date).strip("\0 "))
    if found is None:
        return None
    year, month, day, time = found.groups()
    moment = f"{year}-{month}-{day}T{time}"
    zone = str(offset).strip("\0 ") if offset is not None else ""
    return next(filter(_is_moment, (moment + zone, moment)), None)


def _is_moment(text: str) -> bool:
    """Whether there is such a moment: cameras whose clock was never set write zeros."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _degrees(values: Any, side: object, negative: str, most: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(angle) or not 0 <= angle <= most:
        return None
    return round(-angle if str(side).strip("\0 ").upper() == negative else angle, 7)


def _metres(value: Any, side: object) -> float | None:
    try:
        metres = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(metres):
        return None
    return -metres if side in (1, b"\1") else metres
