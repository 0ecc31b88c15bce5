"""The reference coarse payload: a small picture file of another codec without what can be rebuilt. No pixels here.

First byte: mode 1 in bits 0 and 1, the codec in bits 2 and 3, log2 of the scale in bits 4 and 5, the codec's own
variant in bits 6 and 7. The rest is what `wrappers/` leaves of the file.
"""

from collections.abc import Callable

from codec.bitstream.stream import RefCoarse
from codec.bitstream.wrappers import avif, jpeg, jxl, webp
from codec.errors import StreamLimitExceeded, StreamTruncated, StreamUnsupported
from codec.limits import MAX_REFERENCE_BYTES

REFERENCE_MODE = 1
"""The low two bits of the payload's first byte."""

CODECS = ("avif", "webp", "jxl", "jpeg")
"""In the order of their numbers in the payload."""

SCALES = (1, 2, 4)
"""Reductions that a reference picture may have."""

Strip = Callable[[bytes, int, int], tuple[int, bytes]]
Rebuild = Callable[[int, bytes, int, int], bytes]

_WRAPPERS: tuple[tuple[Strip, Rebuild], ...] = (
    (avif.strip, avif.rebuild),
    (webp.strip, webp.rebuild),
    (jxl.strip, jxl.rebuild),
    (jpeg.strip, jpeg.rebuild),
)
_CODEC_SHIFT, _SCALE_SHIFT, _VARIANT_SHIFT = 2, 4, 6


def coded_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """Size in pixels of the reference of a width x height picture: both sides divided by `scale`, rounded up."""
    return -(-width // scale), -(-height // scale)


def encode_reference(coarse: RefCoarse, width: int, height: int) -> bytes:
    """The payload for a picture of width x height pixels.

    Raises StreamUnsupported for a codec, scale or file that the format cannot hold, StreamLimitExceeded for a file
    beyond MAX_REFERENCE_BYTES.
    """
    if coarse.codec not in CODECS:
        raise StreamUnsupported(f"The format has no reference codec {coarse.codec!r}; known: {', '.join(CODECS)}.")
    if coarse.scale not in SCALES:
        raise StreamUnsupported(f"A reference cannot be reduced by {coarse.scale}; known: 1, 2, 4.")
    number = CODECS.index(coarse.codec)
    strip, _ = _WRAPPERS[number]
    variant, body = strip(coarse.file, *coded_size(width, height, coarse.scale))
    _check_length(len(body))
    scale = SCALES.index(coarse.scale)
    head = REFERENCE_MODE | number << _CODEC_SHIFT | scale << _SCALE_SHIFT | variant << _VARIANT_SHIFT
    return bytes((head,)) + body


def decode_reference(payload: bytes, width: int, height: int) -> RefCoarse:
    """The inverse of `encode_reference`: a complete file that claims exactly the size that it should have.

    The file decodes to the same pixels as the encoder's but need not have the same bytes. Raises StreamError
    children for anything else; the entropy-coded data inside are only checked by decoding them.
    """
    if not payload:
        raise StreamTruncated("The coarse section is empty.")
    _check_length(len(payload) - 1)
    head = payload[0]
    scale = head >> _SCALE_SHIFT & 3
    if head & 3 != REFERENCE_MODE or scale >= len(SCALES):
        raise StreamUnsupported("The reference picture has a scale that this version does not know.")
    number = head >> _CODEC_SHIFT & 3
    size = coded_size(width, height, SCALES[scale])
    _, rebuild = _WRAPPERS[number]
    file = rebuild(head >> _VARIANT_SHIFT, payload[1:], *size)
    return RefCoarse(CODECS[number], SCALES[scale], file)


def _check_length(length: int) -> None:
    if length > MAX_REFERENCE_BYTES:
        raise StreamLimitExceeded(f"The reference has {length} bytes; {MAX_REFERENCE_BYTES} are allowed.")
