"""TIFF pictures: those combinations of tags that are known to come out right, as 8 bits a channel; all others refused.

Pillow reads what is compressed as JPEG or as a fax. For the rest libtiff, through Pillow, takes the compression off and
nothing else; what the samples mean is worked out here (`tiff_samples.py`), where no reader guesses.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from codec.errors import PictureTooLarge, PictureTruncated, PictureUnsupported
from codec.picture import tiff_header as tags
from codec.picture.tiff_header import REMEDY, Directory, Page, read_directory
from codec.picture.tiff_samples import FLOAT, SIGNED, UNSIGNED, Samples, to_deep, to_picture, unpack

_NONE, _JPEG = 1, 7
_PACKED = {5, 8, 32773, 32946}
"""LZW, deflate by both its numbers, PackBits: what libtiff turns into plain bytes whatever the samples are."""
_FAX = {2, 3, 4}
_COMPRESSIONS = {
    6: "old JPEG",
    9: "JBIG",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of a camera",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3}
_MODES = {
    _WHITE_IS_ZERO: "L",
    _BLACK_IS_ZERO: "L",
    _RGB: "RGB",
    _PALETTE: "RGB",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _LAB: "LAB",
}
_DEEP_MODES = ("L", "LA", "RGB", "RGBA")
"""Colours multiplied by their transparency are divided in 8 bits alone."""

_PHOTOMETRICS = {
    4: "a transparency mask",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "a camera's raw samples",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a camera's raw samples",
}
_ASSOCIATED, _UNASSOCIATED = 1, 2

_MAX_SAMPLES = 8
_BAND_BYTES = 16 << 20
"""About how much is decoded at a time."""

_MIN_CHUNK_PIXELS = 1 << 20
"""A tile may be larger than the picture it belongs to, up to here."""


def open_tiff(file: IO[bytes]) -> Image.Image:
    """The picture of a TIFF file, its pixels still to be loaded. Raises PictureUnsupported and PictureTruncated."""
    directory = read_directory(file)
    compression = directory.page.value(tags.COMPRESSION, _NONE)
    if compression in _FAX or compression == _JPEG:
        _check_pillow(directory.page, compression)
        file.seek(0)
        image = TiffImagePlugin.TiffImageFile(file)
        if directory.page.number:
            image.seek(directory.page.number)
        image.info["pages"] = directory
        return image
    file.seek(0)
    return SampledTIFF(file)


def page_notes(image: Image.Image) -> list[str]:
    """What was left out of an opened TIFF picture or assumed of it, in sentences."""
    directory: Directory | None = image.info.get("pages")
    notes = list(getattr(image, "notes", ()))
    if directory is not None and directory.other_pages:
        count = f"{directory.other_pages + 1}" if directory.is_counted else "a thousand or more"
        notes.insert(0, f"The TIFF file has {count} pages; the first one is the picture, the others were left out.")
    return notes


class SampledTIFF(ImageFile.ImageFile):
    """A TIFF picture whose samples are worked out here. `notes` is filled by `load`."""

    format = "TIFF"
    format_description = "Samples in strips or tiles"

    def _open(self) -> None:
        file: Any = self.fp
        directory = read_directory(file)
        self._layout = Layout.of(directory.page)
        self._size = (self._layout.width, self._layout.height)
        self._mode = self._layout.mode
        self.notes: list[str] = []
        self.deep: NDArray[np.uint16] | None = None
        """(height, width, channels) from 0 to 65535 once loaded, where colours of their own need more than 8 bits."""
        self.info["pages"] = directory
        if profile := directory.page.data(tags.ICC_PROFILE):
            self.info["icc_profile"] = profile
        if orientation := directory.page.value(tags.ORIENTATION, 1):
            self.getexif()[tags.ORIENTATION] = orientation

    def load(self) -> Any:
        """Decode the samples, once."""
        if self._im is None:
            file: Any = self.fp
            samples = Samples(_read_samples(self._layout, file), self._layout.bits, self._layout.sample_format)
            picture, self.notes = to_picture(
                samples,
                self._layout.mode,
                is_inverted=self._layout.photometric == _WHITE_IS_ZERO,
                declared_peak=self._layout.declared_peak,
                palette=self._layout.palette,
            )
            if self._has_own_colours:
                self.deep = to_deep(
                    samples,
                    is_inverted=self._layout.photometric == _WHITE_IS_ZERO,
                    declared_peak=self._layout.declared_peak,
                )
            if self._layout.dropped_samples:
                self.notes.append("The TIFF file has channels beside colour and transparency; they were left out.")
            self.im = picture.im
        return Image.Image.load(self)

    @property
    def _has_own_colours(self) -> bool:
        has_colours = "icc_profile" in self.info or bool(self._layout.page.fractions(tags.PRIMARIES))
        return has_colours and self._layout.bits > 8 and self._layout.mode in _DEEP_MODES


@dataclass(frozen=True)
class Layout:
    """How the samples of a page lie in the file. Widths, heights and rows in pixels."""

    page: Page
    width: int
    height: int
    bits: int
    sample_format: int
    samples: int
    photometric: int
    compression: int
    predictor: int
    is_planar: bool
    is_tiled: bool
    chunk_width: int
    chunk_height: int
    alpha: tuple[int, int] | None
    """Which sample it is, and whether colours are multiplied by it."""

    @classmethod
    def of(cls, page: Page) -> "Layout":
        """Raises PictureUnsupported for every combination that is not known to come out right."""
        width, height = page.value(tags.WIDTH, 0), page.value(tags.HEIGHT, 0)
        samples = page.value(tags.SAMPLES, 1)
        all_bits, formats = page.values(tags.BITS) or (1,), page.values(tags.SAMPLE_FORMAT) or (UNSIGNED,)
        bits, sample_format = all_bits[0], formats[0] if formats[0] != 4 else UNSIGNED
        photometric = page.value(tags.PHOTOMETRIC, -1)
        compression, predictor = page.value(tags.COMPRESSION, _NONE), page.value(tags.PREDICTOR, 1)
        if compression != _NONE and compression not in _PACKED:
            raise _unsupported(f"is compressed as {_COMPRESSIONS.get(compression, f'number {compression}')}")
        if photometric not in _COLOURS:
            raise _unsupported(f"holds {_PHOTOMETRICS.get(photometric, f'colours of kind {photometric}')}")
        if len(set(all_bits[:samples])) > 1 or len(set(formats[:samples])) > 1:
            raise _unsupported("has channels of different kinds")
        if samples > _MAX_SAMPLES or samples < _COLOURS[photometric]:
            raise _unsupported(f"has {samples} channels")
        _check_samples(bits, sample_format, photometric, page)
        if page.value(tags.FILL_ORDER, 1) != 1:
            raise _unsupported("has its bits in reversed order")
        if (
            predictor not in (1, 2, 3)
            or (predictor == 2 and bits not in (8, 16, 32))
            or (predictor == 3 and sample_format != FLOAT)
        ):
            raise _unsupported(f"has samples of {bits} bits behind predictor {predictor}")
        is_tiled = tags.TILE_OFFSETS in page.entries
        if is_tiled:
            chunk_width, chunk_height = page.value(tags.TILE_WIDTH, 0), page.value(tags.TILE_HEIGHT, 0)
        else:
            chunk_width, chunk_height = width, min(height, page.value(tags.ROWS_PER_STRIP, height) or height)
        return cls(
            page,
            width,
            height,
            bits,
            sample_format,
            samples,
            photometric,
            compression,
            predictor,
            page.value(tags.PLANAR, 1) == 2 and samples > 1,
            is_tiled,
            chunk_width,
            chunk_height,
            _alpha(page, samples, photometric),
        )

    @property
    def mode(self) -> str:
        """Pillow's mode of the picture."""
        mode = _MODES[self.photometric]
        if self.alpha is None:
            return mode
        return mode + ("a" if self.alpha[1] == _ASSOCIATED else "A")

    @property
    def used(self) -> list[int]:
        """The samples that make the picture, in the mode's order."""
        return [*range(_COLOURS[self.photometric]), *([] if self.alpha is None else [self.alpha[0]])]

    @property
    def dropped_samples(self) -> int:
        """Channels that are neither colour nor transparency."""
        return self.samples - len(self.used)

    @property
    def declared_peak(self) -> int | None:
        """The highest sample by the file's own word, where it is that of whole bits and less than they hold."""
        peaks = set(self.page.values(tags.MAX_SAMPLE))
        peak = peaks.pop() if len(peaks) == 1 else 0
        return peak if 255 <= peak < (1 << self.bits) - 1 and peak & (peak + 1) == 0 else None

    @cached_property
    def palette(self) -> NDArray[np.uint8] | None:
        """(2**bits, 3) colours, or None."""
        if self.photometric != _PALETTE:
            return None
        colours = np.array(self.page.values(tags.COLOUR_MAP), dtype=np.uint32)
        if len(colours) != 3 << self.bits:
            raise PictureTruncated("The TIFF file's palette is not whole. Send the complete original file.")
        if colours.max() > 255:  # some writers store 8 bits where 16 belong
            colours >>= 8
        return colours.reshape(3, -1).T.astype(np.uint8)


def _alpha(page: Page, samples: int, photometric: int) -> tuple[int, int] | None:
    colours = _COLOURS[photometric]
    kinds = page.values(tags.EXTRA_SAMPLES)
    if photometric == _RGB and samples == colours + 1 and not kinds:
        return colours, _UNASSOCIATED
    if photometric in (_CMYK, _YCBCR, _LAB):
        return None
    extra = zip(range(colours, samples), kinds, strict=False)
    return next(((index, kind) for index, kind in extra if kind in (_ASSOCIATED, _UNASSOCIATED)), None)


def _check_samples(bits: int, sample_format: int, photometric: int, page: Page) -> None:
    whole = {UNSIGNED: (*range(1, 17), 32), SIGNED: (8, 16, 32), FLOAT: (16, 32, 64)}
    if bits not in whole.get(sample_format, ()):
        kind = {SIGNED: " signed", FLOAT: " floating point"}.get(sample_format, "")
        raise _unsupported(f"has{kind} samples of {bits} bits" if sample_format in whole else "has complex samples")
    if sample_format != UNSIGNED and photometric not in (_BLACK_IS_ZERO, _RGB):
        raise _unsupported("has signed or floating point samples that are neither plain grey nor RGB")
    if photometric == _PALETTE and bits > 8:
        raise _unsupported(f"has a palette of {bits} bits")
    if photometric in (_YCBCR, _LAB) and bits != 8:
        raise _unsupported(f"has YCbCr or Lab samples of {bits} bits")
    if photometric == _YCBCR and page.values(tags.SUBSAMPLING) != (1, 1):
        raise _unsupported("has YCbCr samples that are reduced but not compressed as JPEG")
    if photometric == _CMYK and page.value(tags.INK_SET, 1) != 1:
        raise _unsupported("has inks other than CMYK")


def _check_pillow(page: Page, compression: int) -> None:
    """Raise PictureUnsupported unless Pillow is known to read this kind rightly."""
    bits, samples = set(page.values(tags.BITS) or (1,)), page.value(tags.SAMPLES, 1)
    photometric = page.value(tags.PHOTOMETRIC, -1)
    if compression in _FAX:
        if bits != {1} or samples != 1 or photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            raise _unsupported("is compressed as a fax but is no picture of black and white")
        return
    if bits != {8}:
        raise _unsupported(f"has samples of {max(bits)} bits compressed as JPEG")
    if set(page.values(tags.SAMPLE_FORMAT)) - {UNSIGNED}:
        raise _unsupported("has signed or floating point samples compressed as JPEG")
    if (photometric, samples) not in {(_BLACK_IS_ZERO, 1), (_RGB, 3), (_YCBCR, 3), (_CMYK, 4)}:
        raise _unsupported(f"has {samples} channels of its kind compressed as JPEG")
    if page.value(tags.PLANAR, 1) != 1 and samples > 1:
        raise _unsupported("has separate planes compressed as JPEG")


def _unsupported(what: str) -> PictureUnsupported:
    return PictureUnsupported(f"The TIFF file {what}, which is not read here. {REMEDY}")


def _read_samples(layout: Layout, file: IO[bytes]) -> NDArray[Any]:
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
            if layout.compression == _NONE:
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
    if len(offsets) < expected or (layout.compression != _NONE and len(counts) < expected):
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
        (tags.PHOTOMETRIC, _BLACK_IS_ZERO if channels == 1 else _CMYK),
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
    if layout.compression == _NONE:
        return bool(counts) and counts[0] >= rows * row_bytes
    try:
        _decompressed([_read(file, offsets[0], counts[0])], layout.compression, row_bytes, rows, rows)
    except OSError:
        return False
    return True
