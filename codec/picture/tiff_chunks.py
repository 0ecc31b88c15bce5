"""Strips and tiles of a TIFF page: read, decompressed and put together. What samples mean is not known here."""

import io
import struct
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from codec.errors import PictureTooLarge, PictureTruncated
from codec.picture import tiff_header as tags
from codec.picture.tiff_layout import BLACK_IS_ZERO, CMYK, NONE, Layout
from codec.picture.tiff_samples import unpack

_BAND_BYTES = 16 << 20
"""About how much is decoded at a time."""

_MIN_CHUNK_PIXELS = 1 << 20
"""A tile may be larger than the picture it belongs to, up to here."""


def read_samples(layout: Layout, file: IO[bytes]) -> NDArray[Any]:
    """(height, width, used samples) in the file's own kind of numbers, native byte order; floats as 32 bits."""
    width, height, used = layout.width, layout.height, layout.used
    per_chunk = 1 if layout.is_planar else layout.samples
    is_wide = 8 < layout.bits < 16 and _has_wide_containers(layout, file)
    out: NDArray[Any] | None = None
    for plane, x, y, rows in _chunks(layout, file, per_chunk, is_wide):
        if layout.is_planar and plane not in used:
            continue
        values = unpack(rows, layout.chunk_width, per_chunk, layout, is_wide=is_wide)
        values = values[: height - y, : width - x]
        if out is None:
            out = np.zeros((height, width, len(used)), values.dtype)
        place = out[y : y + values.shape[0], x : x + values.shape[1]]
        if layout.is_planar:
            place[..., used.index(plane)] = values[..., 0]
        else:
            place[...] = values if used == list(range(per_chunk)) else values[..., used]
    assert out is not None
    return out


def _chunks(
    layout: Layout, file: IO[bytes], per_chunk: int, is_wide: bool
) -> Iterator[tuple[int, int, int, NDArray[np.uint8]]]:
    """Plane, left column, top row and packed bytes (rows, bytes of a row) of all strips or tiles."""
    offsets, counts, across, down = _table(layout)
    row_bytes = -(-layout.chunk_width * per_chunk * (16 if is_wide else layout.bits) // 8)
    for plane in range(layout.samples if layout.is_planar else 1):
        first = plane * across * down
        for group in _groups(range(first, first + across * down), counts, row_bytes * layout.chunk_height):
            places = [divmod(index - first, across) for index in group]
            tops = [row * layout.chunk_height for row, _ in places]
            heights = [
                layout.chunk_height if layout.is_tiled else min(layout.chunk_height, layout.height - top)
                for top in tops
            ]
            lefts = [column * layout.chunk_width for _, column in places]
            if layout.compression == NONE:
                for index, x, y, rows in zip(group, lefts, tops, heights, strict=True):
                    for top, band in _plain_bands(file, offsets[index], rows, row_bytes):
                        yield plane, x, y + top, band
                continue
            parts = [_read(file, offsets[index], counts[index]) for index in group]
            data = _decompressed(parts, layout.compression, row_bytes, layout.chunk_height, sum(heights))
            at = 0
            for x, y, rows in zip(lefts, tops, heights, strict=True):
                yield plane, x, y, data[at : at + rows]
                at += rows


def _groups(indexes: range, counts: tuple[int, ...], chunk_bytes: int) -> Iterator[list[int]]:
    """Strips or tiles to be decompressed together: about `_BAND_BYTES` before and after."""
    group: list[int] = []
    packed = 0
    for index in indexes:
        packed += counts[index] if index < len(counts) else 0
        group.append(index)
        if packed >= _BAND_BYTES or len(group) * chunk_bytes >= _BAND_BYTES:
            yield group
            group, packed = [], 0
    if group:
        yield group


def _table(layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Offsets and sizes of all chunks, and how many lie across and down a plane."""
    if layout.chunk_width < 1 or layout.chunk_height < 1:
        raise PictureTruncated("The TIFF file's strips or tiles have no size. It is damaged.")
    if layout.chunk_width * layout.chunk_height > max(_MIN_CHUNK_PIXELS, layout.width * layout.height):
        raise PictureTooLarge("A tile of the TIFF file claims more pixels than the picture. Save it again.")
    page = layout.page
    offsets = page.values(tags.TILE_OFFSETS if layout.is_tiled else tags.STRIP_OFFSETS)
    counts = page.values(tags.TILE_COUNTS if layout.is_tiled else tags.STRIP_COUNTS)
    across, down = -(-layout.width // layout.chunk_width), -(-layout.height // layout.chunk_height)
    expected = across * down * (layout.samples if layout.is_planar else 1)
    if len(offsets) < expected or (layout.compression != NONE and len(counts) < expected):
        raise PictureTruncated("The TIFF file lacks some of its strips or tiles. Send the complete original file.")
    return offsets, counts, across, down


def _plain_bands(file: IO[bytes], offset: int, rows: int, row_bytes: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    step = max(1, _BAND_BYTES // row_bytes)
    for top in range(0, rows, step):
        count = min(step, rows - top)
        data = _read(file, offset + top * row_bytes, count * row_bytes)
        yield top, np.frombuffer(data, np.uint8).reshape(count, row_bytes)


def _read(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    data = file.read(count)
    if len(data) < count:
        raise PictureTruncated("The TIFF file ends before the whole picture is there. Send the complete original file.")
    return data


def _decompressed(
    parts: list[bytes], compression: int, row_bytes: int, rows_per_part: int, rows: int
) -> NDArray[np.uint8]:
    """(rows, row_bytes) of strips or tiles of which libtiff is told nothing but the compression.

    They are handed to it as the strips of a picture of 8 bits with one channel, or with four where rows divide so,
    which Pillow lets be larger: neither planes nor bits, formats nor byte orders have a part in that.
    """
    channels = 1 if row_bytes % 4 else 4
    count = len(parts)
    ends = np.cumsum([len(part) for part in parts]).tolist()
    bits_at = 8 + 2 + 9 * 12 + 4
    lists_at = bits_at + 8
    data_at = lists_at + (8 * count if count > 1 else 0)
    starts = [data_at + end - len(part) for end, part in zip(ends, parts, strict=True)]
    sizes = [len(part) for part in parts]
    entries = [
        (tags.WIDTH, row_bytes // channels),
        (tags.HEIGHT, rows),
        (tags.BITS, 8 if channels == 1 else bits_at),
        (tags.COMPRESSION, compression),
        (tags.PHOTOMETRIC, BLACK_IS_ZERO if channels == 1 else CMYK),
        (tags.STRIP_OFFSETS, lists_at if count > 1 else starts[0]),
        (tags.SAMPLES, channels),
        (tags.ROWS_PER_STRIP, rows_per_part),
        (tags.STRIP_COUNTS, lists_at + 4 * count if count > 1 else sizes[0]),
    ]
    out = io.BytesIO()
    out.write(b"II*\0" + struct.pack("<LH", 8, len(entries)))
    for tag, value in entries:
        kind, values = (3, channels) if tag == tags.BITS else (4, 1)
        if tag in (tags.STRIP_OFFSETS, tags.STRIP_COUNTS):
            values = count
        out.write(struct.pack("<HHLL", tag, kind, values, value))
    out.write(bytes(4) + struct.pack("<4H", 8, 8, 8, 8))
    if count > 1:
        out.write(struct.pack(f"<{2 * count}L", *starts, *sizes))
    for part in parts:
        out.write(part)
    out.seek(0)
    with TiffImagePlugin.TiffImageFile(out) as image:
        image.load()
        return np.frombuffer(image.tobytes(), np.uint8).reshape(rows, row_bytes)


def _has_wide_containers(layout: Layout, file: IO[bytes]) -> bool:
    """Whether samples of 9 to 15 bits take two bytes each, as some writers do, where the standard packs them."""
    per_chunk = 1 if layout.is_planar else layout.samples
    row_bytes = 2 * layout.chunk_width * per_chunk
    offsets, counts, _, _ = _table(layout)
    rows = layout.chunk_height
    if layout.compression == NONE:
        return bool(counts) and counts[0] >= rows * row_bytes
    try:
        _decompressed([_read(file, offsets[0], counts[0])], layout.compression, row_bytes, rows, rows)
    except OSError:
        return False
    return True
