"""How the samples of a TIFF page lie in the file, and which combinations of tags are known to come out right."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codec.errors import PictureTruncated, PictureUnsupported
from codec.picture import tiff_header as tags
from codec.picture.tiff_header import REMEDY, Page
from codec.picture.tiff_samples import FLOAT, SIGNED, UNSIGNED

NONE, JPEG = 1, 7
_PACKED = {5, 8, 32773, 32946}
"""LZW, deflate by both its numbers, PackBits: what libtiff turns into plain bytes whatever the samples are."""
FAX = {2, 3, 4}
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

WHITE_IS_ZERO, BLACK_IS_ZERO, _RGB, _PALETTE, CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, CMYK: 4, _YCBCR: 3, _LAB: 3}
_MODES = {
    WHITE_IS_ZERO: "L",
    BLACK_IS_ZERO: "L",
    _RGB: "RGB",
    _PALETTE: "RGB",
    CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _LAB: "LAB",
}
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
        compression, predictor = page.value(tags.COMPRESSION, NONE), page.value(tags.PREDICTOR, 1)
        if compression != NONE and compression not in _PACKED:
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
    if photometric in (CMYK, _YCBCR, _LAB):
        return None
    extra = zip(range(colours, samples), kinds, strict=False)
    return next(((index, kind) for index, kind in extra if kind in (_ASSOCIATED, _UNASSOCIATED)), None)


def _check_samples(bits: int, sample_format: int, photometric: int, page: Page) -> None:
    whole = {UNSIGNED: (*range(1, 17), 32), SIGNED: (8, 16, 32), FLOAT: (16, 32, 64)}
    if bits not in whole.get(sample_format, ()):
        kind = {SIGNED: " signed", FLOAT: " floating point"}.get(sample_format, "")
        raise _unsupported(f"has{kind} samples of {bits} bits" if sample_format in whole else "has complex samples")
    if sample_format != UNSIGNED and photometric not in (BLACK_IS_ZERO, _RGB):
        raise _unsupported("has signed or floating point samples that are neither plain grey nor RGB")
    if photometric == _PALETTE and bits > 8:
        raise _unsupported(f"has a palette of {bits} bits")
    if photometric in (_YCBCR, _LAB) and bits != 8:
        raise _unsupported(f"has YCbCr or Lab samples of {bits} bits")
    if photometric == _YCBCR and page.values(tags.SUBSAMPLING) != (1, 1):
        raise _unsupported("has YCbCr samples that are reduced but not compressed as JPEG")
    if photometric == CMYK and page.value(tags.INK_SET, 1) != 1:
        raise _unsupported("has inks other than CMYK")


def check_pillow(page: Page, compression: int) -> None:
    """Raise PictureUnsupported unless Pillow is known to read this kind rightly."""
    bits, samples = set(page.values(tags.BITS) or (1,)), page.value(tags.SAMPLES, 1)
    photometric = page.value(tags.PHOTOMETRIC, -1)
    if compression in FAX:
        if bits != {1} or samples != 1 or photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            raise _unsupported("is compressed as a fax but is no picture of black and white")
        return
    if bits != {8}:
        raise _unsupported(f"has samples of {max(bits)} bits compressed as JPEG")
    if set(page.values(tags.SAMPLE_FORMAT)) - {UNSIGNED}:
        raise _unsupported("has signed or floating point samples compressed as JPEG")
    if (photometric, samples) not in {(BLACK_IS_ZERO, 1), (_RGB, 3), (_YCBCR, 3), (CMYK, 4)}:
        raise _unsupported(f"has {samples} channels of its kind compressed as JPEG")
    if page.value(tags.PLANAR, 1) != 1 and samples > 1:
        raise _unsupported("has separate planes compressed as JPEG")


def _unsupported(what: str) -> PictureUnsupported:
    return PictureUnsupported(f"The TIFF file {what}, which is not read here. {REMEDY}")
