"""The colour that a BMP file of version 4 or 5 signals: primaries and gamma, or a profile. It decodes nothing."""

import struct
from typing import IO

from codec.picture.colour import ColourSignal

_CALIBRATED, _EMBEDDED = 0, int.from_bytes(b"MBED", "big")
_V4_BYTES, _V5_BYTES = 108, 124
_HEADER_AT = 14
_MAX_PROFILE_BYTES = 16 * 1024 * 1024


def colour_of(file: IO[bytes]) -> tuple[ColourSignal | None, bytes | None]:
    """The signal and the ICC profile; None for what the file has not."""
    file.seek(_HEADER_AT)
    header = file.read(_V5_BYTES)
    size = int.from_bytes(header[:4], "little")
    if size < _V4_BYTES or len(header) < _V4_BYTES:
        return None, None
    (kind,) = struct.unpack_from("<L", header, 56)
    if kind == _EMBEDDED and size >= _V5_BYTES and len(header) == _V5_BYTES:
        begin, length = struct.unpack_from("<LL", header, 112)
        file.seek(_HEADER_AT + begin)
        return None, file.read(length) if length <= _MAX_PROFILE_BYTES else None
    if kind != _CALIBRATED:
        return None, None
    ends = [value / (1 << 30) for value in struct.unpack_from("<9l", header, 60)]
    gammas = [value / (1 << 16) for value in struct.unpack_from("<3L", header, 96)]
    points = [coordinate for at in (0, 3, 6) for coordinate in ends[at : at + 2]]
    gamma = gammas[0] if len(set(gammas)) == 1 and gammas[0] > 0 else None
    if gamma is not None and gamma < 1:
        gamma = 1 / gamma
    red_x, red_y, green_x, green_y, blue_x, blue_y = points
    chromaticities = (0.3127, 0.3290, red_x, red_y, green_x, green_y, blue_x, blue_y) if all(points) else None
    return ColourSignal(gamma=gamma, chromaticities=chromaticities), None
