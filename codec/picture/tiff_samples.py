"""Samples of a TIFF picture as 8 bits a channel: what their numbers mean, by their kind, their bits and their peak."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import PictureUnsupported
from codec.picture.tiff_header import REMEDY

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""Values of the tag SampleFormat."""

_BAND_ROWS = 256

_SCALES = {
    (UNSIGNED, 16): (255, 1023, 4095),
    (UNSIGNED, 32): (255, 4095, 65535),
    (SIGNED, 16): (255, 1023, 4095),
    (SIGNED, 32): (255, 4095, 65535),
}
"""Full scales below that of the container: a picture whose brightest sample is a 16th of what fits was made with fewer
bits, as those of scientific cameras are."""

_FLOAT_SCALES = ((0.0, 1.1, 1.0), (16.0, 255.5, 255.0), (256.0, 65535.5, 65535.0))
"""Peaks from, to, and the full scale they mean; a little over 1 is what resampling leaves."""


class Packing(Protocol):
    """What has to be known to take samples apart; a `Layout` of `tiff.py`."""

    @property
    def bits(self) -> int: ...
    @property
    def sample_format(self) -> int: ...
    @property
    def predictor(self) -> int: ...
    @property
    def page(self) -> Any: ...


@dataclass(frozen=True)
class Samples:
    """`values` (height, width, channels) of `bits` bits in the file's kind of numbers."""

    values: NDArray[Any]
    bits: int
    sample_format: int


def unpack(rows: NDArray[np.uint8], width: int, channels: int, packing: Packing, *, is_wide: bool) -> NDArray[Any]:
    """(rows, width, channels) in native byte order of packed rows; `is_wide`: two bytes for each sample of 9 to 15
    bits. Floats become 32 bits."""
    bits, order = 16 if is_wide else packing.bits, packing.page.byte_order
    if bits not in (8, 16, 32, 64):
        return _from_bits(rows, width, channels, bits)
    size = bits // 8
    if packing.predictor == 3:
        planes = np.cumsum(rows.reshape(len(rows), -1, channels), axis=1, dtype=np.uint8)
        # The most significant bytes of a row come first, then the next ones.
        rows = np.ascontiguousarray(planes.reshape(len(rows), size, -1).transpose(0, 2, 1)).reshape(len(rows), -1)
        order = ">"
    values = np.ascontiguousarray(rows).view(f"{order}u{size}").reshape(len(rows), width, channels)
    values = values.astype(f"=u{size}", copy=False)
    if packing.predictor == 2:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    if packing.sample_format == FLOAT:
        with np.errstate(over="ignore"):
            return values.view(f"=f{size}").astype(np.float32)
    return values.view(f"=i{size}") if packing.sample_format == SIGNED else values


def _from_bits(rows: NDArray[np.uint8], width: int, channels: int, bits: int) -> NDArray[Any]:
    kind: Any = np.uint8 if bits < 8 else np.uint16
    out: NDArray[Any] = np.empty((len(rows), width * channels), kind)
    for at, row in enumerate(rows):
        digits = np.unpackbits(row)[: width * channels * bits].reshape(-1, bits)
        value: NDArray[Any] = np.zeros(len(digits), kind)
        for digit in range(bits):
            value = (value << 1) | digits[:, digit]
        out[at] = value
    return out.reshape(len(rows), width, channels)


def to_picture(
    samples: Samples,
    mode: str,
    *,
    is_inverted: bool,
    declared_peak: int | None,
    palette: NDArray[np.uint8] | None,
) -> tuple[Image.Image, list[str]]:
    """The picture in Pillow's `mode`, and notes of what was assumed. `is_inverted`: white is zero. Raises
    PictureUnsupported where the numbers do not tell what they mean."""
    values = samples.values
    notes: list[str] = []
    height, width, channels = values.shape
    if palette is not None:
        picture = palette[values[..., 0]]
        if channels > 1:
            alpha = _scaled(values[..., 1:], (1 << samples.bits) - 1)
            picture = np.concatenate([picture, alpha], axis=-1)
        return Image.frombytes(mode, (width, height), picture.tobytes()), notes
    if values.dtype == np.uint8 and samples.bits == 8:
        eight = values
    else:
        scale, notes = _full_scale(samples, declared_peak, is_inverted=is_inverted)
        eight = np.empty(values.shape, np.uint8)
        for top in range(0, height, _BAND_ROWS):
            eight[top : top + _BAND_ROWS] = _scaled(values[top : top + _BAND_ROWS], scale)
    if is_inverted:
        eight = eight.copy() if not eight.flags.writeable else eight
        eight[..., 0] = 255 - eight[..., 0]
    return Image.frombytes(mode, (width, height), eight.tobytes()), notes


def to_deep(samples: Samples, *, is_inverted: bool, declared_peak: int | None) -> NDArray[np.uint16]:
    """(height, width, channels) from 0 to 65535 of what `to_picture` makes a picture of; errors as there."""
    scale, _ = _full_scale(samples, declared_peak, is_inverted=is_inverted)
    deep = np.empty(samples.values.shape, np.uint16)
    for top in range(0, len(deep), _BAND_ROWS):
        numbers = samples.values[top : top + _BAND_ROWS].astype(np.float64)
        np.nan_to_num(numbers, copy=False, nan=0.0, posinf=scale, neginf=0.0)
        deep[top : top + _BAND_ROWS] = np.clip(numbers * (65535 / scale) + 0.5, 0, 65535).astype(np.uint16)
    if is_inverted:
        deep[..., 0] = 65535 - deep[..., 0]
    return deep


def _scaled(values: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    if values.dtype in (np.uint8, np.uint16):
        # A table takes a fifth of the time.
        table = np.arange(1 << 8 * values.dtype.itemsize, dtype=np.float64) * (255 / scale) + 0.5
        eight: NDArray[np.uint8] = np.clip(table, 0, 255).astype(np.uint8)[values]
        return eight
    numbers = values.astype(np.float32)
    if values.dtype.kind == "f":
        np.nan_to_num(numbers, copy=False, nan=0.0, posinf=scale, neginf=0.0)
    numbers *= np.float32(255 / scale)
    numbers += np.float32(0.5)
    return np.clip(numbers, 0, 255, out=numbers).astype(np.uint8)


def _full_scale(samples: Samples, declared_peak: int | None, *, is_inverted: bool) -> tuple[float, list[str]]:
    """The number that stands for full brightness, and a note where the file does not say it."""
    values, bits = samples.values, samples.bits
    if samples.sample_format == FLOAT:
        return _float_scale(values)
    peak, low = int(values.max()), int(values.min())
    if low < 0:
        raise PictureUnsupported(f"The TIFF file has negative samples, whose brightness it does not tell. {REMEDY}")
    whole = (1 << (bits - 1 if samples.sample_format == SIGNED else bits)) - 1
    if peak > whole:
        raise PictureUnsupported(f"The TIFF file says {bits} bits a sample but has larger ones. {REMEDY}")
    if declared_peak is not None and peak <= declared_peak:
        return declared_peak, []
    smaller = next((scale for scale in _SCALES.get((samples.sample_format, bits), ()) if peak <= scale), None)
    if smaller is None or peak == 0:
        return whole, []
    if is_inverted:
        raise PictureUnsupported(
            f"The TIFF file has white for 0 and no sample above {peak} in {bits} bits, so that it does not tell what "
            f"black is. {REMEDY}"
        )
    return smaller, [
        f"The TIFF file has {bits} bits a sample but none above {peak}; they were taken for "
        f"{smaller.bit_length()} bits, with {smaller} as white."
    ]


_GAPS = "The TIFF file has samples that are no numbers; they were taken for black, infinite ones for white."


def _float_scale(values: NDArray[Any]) -> tuple[float, list[str]]:
    peak, low = 0.0, 0.0
    has_gaps = False
    for top in range(0, len(values), _BAND_ROWS):
        band = values[top : top + _BAND_ROWS]
        finite = band[np.isfinite(band)]
        has_gaps |= finite.size < band.size
        if finite.size:
            peak, low = max(peak, float(finite.max())), min(low, float(finite.min()))
    for least, most, scale in _FLOAT_SCALES:
        if least <= peak <= most and low >= -scale / 10:
            note = f"The TIFF file has floating point samples up to {peak:g}; {scale:g} was taken for white."
            return scale, ([] if scale == 1.0 else [note]) + ([_GAPS] if has_gaps else [])
    raise PictureUnsupported(
        f"The TIFF file has floating point samples from {low:g} to {peak:g}; only 0 to 1 says what white is. {REMEDY}"
    )
