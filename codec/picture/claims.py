"""Width and height that a WebP or JPEG XL file claims, from its header bytes alone.

The readers of these two formats take memory for the whole picture while they parse the header, so the claim has to
be known before they are asked. The others tell their size without that.
"""

_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_MAX_BOXES = 64
"""Boxes looked at before the codestream of a JPEG XL container; real files have fewer than ten."""


def claimed_size(name: str, data: bytes) -> tuple[int, int] | None:
    """(width, height) claimed by a "WebP" or "JPEG XL" file; None for other formats or when it cannot be read."""
    if name == "WebP":
        return _webp_size(data)
    if name == "JPEG XL":
        return _jxl_size(data)
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30:
        return None
    chunk = data[12:16]
    if chunk == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _jxl_size(data: bytes) -> tuple[int, int] | None:
    if data[:2] == b"\xff\x0a":
        return _codestream_size(data[2:16])
    position = 0
    for _ in range(_MAX_BOXES):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        start = position + 8
        if length == 1:
            length = int.from_bytes(data[start : start + 8], "big")
            start += 8
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return _codestream_size(data[start + 2 : start + 16]) if data[start : start + 2] == b"\xff\x0a" else None
        if len(kind) < 4 or length < start - position:
            return None
        position += length
    return None


def _codestream_size(head: bytes) -> tuple[int, int] | None:
    """The SizeHeader of ISO/IEC 18181-1 (least significant bit first) behind the codestream's signature."""
    if len(head) < 10:
        head = head.ljust(10, b"\0")
    bits = int.from_bytes(head, "little")
    position = 0

    def take(count: int) -> int:
        nonlocal position
        value = bits >> position & ((1 << count) - 1)
        position += count
        return value

    def dimension(is_small: int) -> int:
        return (take(5) + 1) * 8 if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    is_small = take(1)
    height = dimension(is_small)
    ratio = take(3)
    if ratio == 0:
        return dimension(is_small), height
    numerator, denominator = _JXL_RATIOS[ratio]
    return height * numerator // denominator, height
