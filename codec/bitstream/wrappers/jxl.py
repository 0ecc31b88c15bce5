"""JPEG XL: signature, size and default metadata go; what stays is the one frame.

Layout: ISO/IEC 18181-1, size header, image metadata, frame header. A frame that draws on other frames, covers
another area than the picture, or carries splines or patches is refused: its cost is not bounded by the picture's
size.
"""

from codec.bitstream.coding.bits import BitReader
from codec.errors import StreamCorrupt, StreamTruncated, StreamUnsupported

_SIGNATURE = b"\xff\x0a"
_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_REGULAR_FRAME, _MODULAR = 0, 1
_UNBOUNDED_FLAGS = 2 | 16 | 32
"""Patches, splines, and low frequencies taken from an earlier frame."""


def strip(file: bytes, width: int, height: int) -> tuple[int, bytes]:
    """Variant 0; the body is the frame. Only bare codestreams with default metadata (8-bit sRGB as XYB) pass."""
    if file[:2] != _SIGNATURE:
        raise StreamUnsupported("Only a bare JPEG XL codestream can be a coarse picture.")
    bits = BitReader(file[2:24].ljust(22, b"\0"), lowest_first=True)
    if _read_size(bits) != (width, height):
        raise StreamUnsupported("The JPEG XL file has another size than the coarse picture.")
    if bits.read(2) != 0b11:
        raise StreamUnsupported("The JPEG XL file's metadata are not the default ones.")
    frame = file[2 + -(-bits.position // 8) :]
    _check_frame(frame)
    return 0, frame


def rebuild(variant: int, body: bytes, width: int, height: int) -> bytes:
    """A bare codestream of exactly width x height pixels."""
    if variant != 0:
        raise StreamUnsupported("The JPEG XL picture is stored in a way that this version does not know.")
    _check_frame(body)
    value, count = 0, 1  # first bit: sizes are not in units of eight
    for side, ratio_bits in ((height, 3), (width, 0)):
        selector = next(index for index, size in enumerate(_SIZE_BITS) if (side - 1) >> size == 0)
        value |= selector << count | (side - 1) << (count + 2)
        count += 2 + _SIZE_BITS[selector] + ratio_bits  # ratio 0: the width is written out
    value |= 0b11 << count  # default metadata, default transform
    return _SIGNATURE + value.to_bytes(-(-(count + 2) // 8), "little") + body


def _read_size(bits: BitReader) -> tuple[int, int]:
    def side(is_small: int) -> int:
        return 8 * (bits.read(5) + 1) if is_small else bits.read(_SIZE_BITS[bits.read(2)]) + 1

    is_small = bits.read(1)
    height = side(is_small)
    ratio = bits.read(3)
    if ratio == 0:
        return side(is_small), height
    numerator, denominator = _RATIOS[ratio]
    return height * numerator // denominator, height


def _check_frame(frame: bytes) -> None:
    """Raise unless the frame is the only one and covers exactly the picture."""
    if not frame:
        raise StreamTruncated("The JPEG XL frame is missing.")
    bits = BitReader(frame[:64], lowest_first=True)
    if bits.read(1):  # all fields default: the single full-size frame
        return
    frame_type, encoding = bits.read(2), bits.read(1)
    flags = _read_u64(bits)
    if frame_type != _REGULAR_FRAME or flags & _UNBOUNDED_FLAGS:
        raise StreamUnsupported("The JPEG XL picture is made of more than one plain frame.")
    bits.read(2)  # upsampling
    bits.read(2 if encoding == _MODULAR else 6)  # group size, or the two chroma multipliers
    _skip_passes(bits)
    has_crop, blend_mode = bits.read(1), bits.read(2)
    if has_crop or blend_mode or not bits.read(1):
        raise StreamCorrupt("The JPEG XL frame is not the only one, or has another size than the picture.")


def _read_u64(bits: BitReader) -> int:
    selector = bits.read(2)
    if selector == 0:
        return 0
    if selector == 1:
        return 1 + bits.read(4)
    if selector == 2:
        return 17 + bits.read(8)
    raise StreamUnsupported("The JPEG XL frame has flags that are not known.")


def _skip_passes(bits: BitReader) -> None:
    selector = bits.read(2)
    if selector == 0:
        return
    passes = selector + 1 if selector < 3 else 4 + bits.read(3)
    selector = bits.read(2)
    downsamplings = selector if selector < 3 else 3 + bits.read(1)
    bits.read(2 * (passes - 1))
    bits.read(2 * downsamplings)
    for _ in range(downsamplings):
        if bits.read(2) == 3:
            bits.read(3)
