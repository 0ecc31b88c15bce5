"""How many scans a JPEG file has, without decoding any: each costs time by the picture's whole size.

The walk sees every scan that the decoder would see, also in damaged files; it judges nothing else.
"""

import re
from typing import IO

MAX_SCANS = 200
"""Real progressive files have about ten, and even scripts that search for the smallest file stay below a hundred."""

_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
"""Markers that a length follows, and the end. Restart markers and invalid ones are passed byte by byte, as the decoder
does when it looks for a restart, so that no scan can hide in them."""

_END, _SCAN = 0xD9, 0xDA
_WINDOW_BYTES = 256 * 1024


def has_too_many_scans(file: IO[bytes]) -> bool:
    """True when a JPEG file has more than MAX_SCANS scans before its end marker; moves the file's position.

    What lies in metadata segments or behind the picture, such as a film or a second picture, does not count.
    """
    window, base, position, scans = b"", 0, 2, 0
    while True:
        found = _MARKER.search(window, position - base) if position - base < len(window) else None
        if found is not None and found[1][0] == _END:
            return False
        if found is None or found.end() + 2 > len(window):
            # The last byte is looked at again: it may be the first half of a marker.
            base = base + found.start() if found is not None else max(position, base + len(window) - 1)
            position = base
            file.seek(base)
            window = file.read(_WINDOW_BYTES)
            if len(window) < 4:
                return False
            continue
        if found[1][0] == _SCAN:
            scans += 1
            if scans > MAX_SCANS:
                return True
        length = int.from_bytes(window[found.end() : found.end() + 2], "big")
        position = base + found.end() + max(length, 2)
