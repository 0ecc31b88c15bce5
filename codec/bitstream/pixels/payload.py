"""The pixel payload: quantised block averages, losslessly coded. It chooses grid form and model, never quality.

Small grids go through the networks of pixels_network.py, large ones through pixels_plain.py: which of the two is
fixed by the number of samples, so that no grid takes a decoder much over half a second.
"""

from codec.bitstream.coding.rangecoder import Decoder
from codec.bitstream.pixels.network import MAX_FINE_SAMPLES
from codec.bitstream.pixels.plain import read_plain, write_plain
from codec.bitstream.pixels.samples import read_samples, write_samples
from codec.bitstream.stream import PixelCoarse
from codec.errors import StreamCorrupt, StreamError, StreamLimitExceeded, StreamTruncated, StreamUnsupported
from codec.limits import MAX_BLOCKS

PIXEL_MODE = 0
"""The low two bits of the payload's first byte. Above them: level (3 bits), grid form (2 bits), mirror (1 bit)."""

DEFAULT_BLOCKS = 32
"""Blocks along the long edge that need no byte of their own."""

MAX_NETWORK_SAMPLES = 12_288
"""Up to 64x64 blocks the networks code the samples; part of the format."""

MAX_LEVEL = 7

_LEVEL_SHIFT, _FORM_SHIFT, _MIRROR_SHIFT = 2, 5, 7
_FORM_DEFAULT, _FORM_BLOCKS, _FORM_EXPLICIT = 0, 1, 2


def standard_grid(width: int, height: int, blocks: int) -> tuple[int, int]:
    """Columns and rows of a picture's grid: the long edge gets `blocks`, the short one its share, at least 1.

    The share is rounded half up, in integers.
    """
    if width >= height:
        return blocks, max(1, (2 * height * blocks + width) // (2 * width))
    return max(1, (2 * width * blocks + height) // (2 * height)), blocks


def encode_pixels(coarse: PixelCoarse, width: int, height: int) -> bytes:
    """The payload of a thumbnail of a width x height picture.

    Raises StreamLimitExceeded for a grid over MAX_BLOCKS, StreamError for samples or a level out of bounds.
    """
    _check(coarse)
    columns, rows, level = coarse.columns, coarse.rows, coarse.level
    blocks = max(columns, rows)
    if (columns, rows) != standard_grid(width, height, blocks):
        form, fields = _FORM_EXPLICIT, bytes((columns - 1, rows - 1))
    elif blocks != DEFAULT_BLOCKS:
        form, fields = _FORM_BLOCKS, bytes((blocks - 1,))
    else:
        form, fields = _FORM_DEFAULT, b""
    head = PIXEL_MODE | level << _LEVEL_SHIFT | form << _FORM_SHIFT
    if len(coarse.samples) > MAX_NETWORK_SAMPLES:
        return bytes((head,)) + fields + write_plain(columns, rows, level, coarse.samples)
    bodies = [write_samples(columns, rows, level, coarse.samples)]
    if len(coarse.samples) <= MAX_FINE_SAMPLES:
        # Which way round a picture is coded is free to choose. It saves a third of a percent, and larger grids, where
        # the second try takes longest, can do without.
        bodies.append(write_samples(columns, rows, level, _mirrored(coarse.samples, columns)))
    is_mirrored = len(bodies[-1]) < len(bodies[0])
    return bytes((head | is_mirrored << _MIRROR_SHIFT,)) + fields + bodies[is_mirrored]


def decode_pixels(payload: bytes, width: int, height: int) -> PixelCoarse:
    """The inverse of `encode_pixels`, for the same picture size.

    Raises StreamTruncated, StreamCorrupt, StreamUnsupported or StreamLimitExceeded; a grid is checked before
    anything is allocated for it.
    """
    if not payload:
        raise StreamTruncated("The coarse section is empty.")
    head = payload[0]
    if head & 3 != PIXEL_MODE:
        raise StreamUnsupported("The coarse section is not coded as pixel blocks.")
    columns, rows, start = _read_grid(payload, width, height)
    level = head >> _LEVEL_SHIFT & MAX_LEVEL
    is_mirrored = bool(head >> _MIRROR_SHIFT)
    count = columns * rows * 3
    if count > MAX_NETWORK_SAMPLES:
        if is_mirrored:
            raise StreamUnsupported("A grid of this size cannot be mirrored.")
        return PixelCoarse(columns, rows, level, read_plain(payload[start:], columns, rows, level))
    decoder = Decoder(payload[start:])
    samples = read_samples(decoder, columns, rows, level)
    if len(payload) - start > decoder.bytes_read:
        raise StreamCorrupt("The coarse section has bytes after its last sample.")
    return PixelCoarse(columns, rows, level, _mirrored(samples, columns) if is_mirrored else samples)


def _read_grid(payload: bytes, width: int, height: int) -> tuple[int, int, int]:
    """Columns, rows and where the coded samples start. One grid has one spelling; others are refused."""
    form = payload[0] >> _FORM_SHIFT & 3
    if len(payload) < 1 + form:
        raise StreamTruncated("The coarse section ends inside its grid.")
    if form == _FORM_DEFAULT:
        return *standard_grid(width, height, DEFAULT_BLOCKS), 1
    if form == _FORM_BLOCKS:
        blocks = payload[1] + 1
        if blocks == DEFAULT_BLOCKS:
            raise StreamCorrupt("The coarse section's grid is written longer than it needs to be.")
        return *standard_grid(width, height, blocks), 2
    if form == _FORM_EXPLICIT:
        columns, rows = payload[1] + 1, payload[2] + 1
        if (columns, rows) == standard_grid(width, height, max(columns, rows)):
            raise StreamCorrupt("The coarse section's grid is written longer than it needs to be.")
        return columns, rows, 3
    raise StreamUnsupported("The coarse section's grid is of a form that this program does not know.")


def _check(coarse: PixelCoarse) -> None:
    columns, rows, level = coarse.columns, coarse.rows, coarse.level
    if not (1 <= columns <= MAX_BLOCKS and 1 <= rows <= MAX_BLOCKS):
        raise StreamLimitExceeded(f"A grid of {columns}x{rows} blocks is outside 1 to {MAX_BLOCKS} a side.")
    if not 0 <= level <= MAX_LEVEL:
        raise StreamError(f"The level must be 0 to {MAX_LEVEL}, not {level}.")
    if len(coarse.samples) != columns * rows * 3:
        raise StreamError(f"A grid of {columns}x{rows} needs {columns * rows * 3} samples.")
    if max(coarse.samples) >> (8 - level):
        raise StreamError(f"A sample does not fit the {8 - level} bits of level {level}.")


def _mirrored(samples: bytes | bytearray, columns: int) -> bytes:
    """The samples with every row from right to left."""
    stride = 3 * columns
    out = bytearray(len(samples))
    for start in range(0, len(samples), stride):
        row = samples[start : start + stride]
        for plane in range(3):
            out[start + plane : start + stride : 3] = row[plane::3][::-1]
    return bytes(out)
