"""Colour that a file signals by numbers instead of an ICC profile, brought to sRGB; HDR is tone-mapped.

Code points are those of ITU-T H.273; PQ and HLG are ITU-R BT.2100, their reference white is BT.2408's 203 cd/m2.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue, in the order of PNG's cHRM."""

_D65 = (0.3127, 0.3290)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_PRIMARY_NAMES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}

_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
PQ, HLG = 16, 18
_TRANSFER_NAMES = {PQ: "PQ", HLG: "HLG", 8: "linear"}
"""All other transfers are those of video and of sRGB, which pictures are shown by alike."""

REFERENCE_WHITE = 203.0
"""cd/m2 of what is white in a picture without highlights."""

_HLG_PEAK, _HLG_SYSTEM_GAMMA = 1000.0, 1.2
_KNEE = 0.75
"""Share of white up to which the tone map changes nothing."""

_BAND_ROWS = 128
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class ColourSignal:
    """`primaries` and `transfer` by number, or `chromaticities` and `gamma` (sample = light ** (1 / gamma)) in full;
    None is what sRGB has. `outranks_icc`: it counts although there is a profile."""

    primaries: int | None = None
    transfer: int | None = None
    chromaticities: Chromaticities | None = None
    gamma: float | None = None
    is_narrow: bool = False
    outranks_icc: bool = False

    @property
    def white_and_primaries(self) -> Chromaticities:
        """In full, those of sRGB where nothing else is said."""
        return self.chromaticities or PRIMARIES.get(self.primaries or 1, SRGB)

    @property
    def is_hdr(self) -> bool:
        """Whether samples may be brighter than white."""
        return self.transfer in (PQ, HLG)

    @property
    def is_srgb(self) -> bool:
        """Whether nothing is to be done."""
        difference = np.abs(np.subtract(self.white_and_primaries, SRGB)).max()
        gamma = self.gamma if self.gamma is not None else _GAMMAS.get(self.transfer or 0)
        return (
            bool(difference < 0.01)
            and not self.is_hdr
            and not self.is_narrow
            and (gamma is None or abs(gamma - 2.2) < 0.06)
        )

    @property
    def name(self) -> str:
        """What is signalled, for people."""
        words = [_TRANSFER_NAMES.get(self.transfer or 0, "")]
        if self.gamma is not None:
            words.append(f"gamma {self.gamma:.2f}")
        if self.chromaticities is not None:
            words.append("primaries of its own")
        words.append(_PRIMARY_NAMES.get(self.primaries or 0, ""))
        return ", ".join(word for word in words if word) or "other primaries"


def known(signal: ColourSignal | None) -> ColourSignal | None:
    """The signal where it changes anything and can be followed: not sRGB, no triangle without an area."""
    if signal is None or signal.is_srgb:
        return None
    white_x, white_y, *ends = signal.white_and_primaries
    x, y = ends[::2], ends[1::2]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    if abs(area) < 0.01 or white_y < 0.05 or min(y) < 0.001 or not 0 < white_x < 1:
        signal = replace(signal, chromaticities=None, primaries=None)
    if signal.gamma is not None and not 0.2 <= signal.gamma <= 5:
        signal = replace(signal, gamma=None)
    return None if signal.is_srgb else signal


Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def to_srgb(pixels: Pixels, signal: ColourSignal) -> tuple[Image.Image, str]:
    """Pixels (height, width, 3 or 4) of 8 or 16 bits as an sRGB picture, and the note that says what was done.
    Transparency is untouched."""
    light = _light_table(signal, 65536 if pixels.dtype == np.uint16 else 256)
    out = np.empty(pixels.shape, np.uint8)
    out[..., 3:] = pixels[..., 3:] if pixels.dtype == np.uint8 else pixels[..., 3:] >> 8
    matrix = _matrix(signal.white_and_primaries)
    peak = _peak(pixels, light, matrix, signal) if signal.is_hdr else 1.0
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS, :, :3]
        linear = _linear(band, light, matrix, signal)
        if peak > 1:
            linear = _tone_mapped(linear, peak)
        out[top : top + _BAND_ROWS, :, :3] = _encoded(linear)
    note = f"The picture's colours are {signal.name}, not sRGB; they were converted to sRGB."
    if peak > 1:
        note = note[:-1] + f", and what is brighter than {REFERENCE_WHITE:g} cd/m2 was darkened to fit."
    return Image.fromarray(out), note


def _light_table(signal: ColourSignal, count: int) -> NDArray[np.float32]:
    """Light for each of `count` samples: 1 is white, except in HLG, where it is the scene's peak."""
    sample = np.arange(count) / (count - 1)
    if signal.is_narrow:
        sample = np.clip((sample * 255 - 16) / 219, 0, 1)
    gamma = signal.gamma if signal.gamma is not None else _GAMMAS.get(signal.transfer or 0)
    if gamma is not None:
        light = sample**gamma
    elif signal.transfer == PQ:
        root = sample ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        light = light * 10_000 / REFERENCE_WHITE
    elif signal.transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(sample <= 0.5, sample**2 / 3, (np.exp((sample - c) / a) + b) / 12)
    else:
        light = np.where(sample <= 0.04045, sample / 12.92, ((sample + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _linear(
    band: Pixels, light: NDArray[np.float32], matrix: NDArray[np.float32], signal: ColourSignal
) -> NDArray[np.float32]:
    linear = light[band]
    if signal.transfer == HLG:
        # The display's part: its brightness grows faster than the scene's (BT.2100, OOTF).
        luma = linear @ _luma_weights(signal.white_and_primaries)
        linear = (
            linear * (luma[..., None] ** np.float32(_HLG_SYSTEM_GAMMA - 1)) * np.float32(_HLG_PEAK / REFERENCE_WHITE)
        )
    converted: NDArray[np.float32] = np.maximum(linear @ matrix.T, 0)
    return converted


def _peak(pixels: Pixels, light: NDArray[np.float32], matrix: NDArray[np.float32], signal: ColourSignal) -> float:
    """The brightest channel of the picture, as a multiple of white."""
    bands = (pixels[top : top + _BAND_ROWS, :, :3] for top in range(0, len(pixels), _BAND_ROWS))
    return max(float(_linear(band, light, matrix, signal).max(initial=0)) for band in bands)


def _tone_mapped(linear: NDArray[np.float32], peak: float) -> NDArray[np.float32]:
    """Unchanged up to the knee; above it the extended curve of Reinhard et al. (2002), which takes `peak` to 1. All
    channels are scaled by what the brightest one needs, so that hues stay."""
    brightest = linear.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    most = (peak - _KNEE) / (1 - _KNEE)
    mapped = _KNEE + (1 - _KNEE) * over * (1 + over / most**2) / (1 + over)
    scaled: NDArray[np.float32] = linear * np.where(over > 0, mapped / np.maximum(brightest, 1e-6), 1)
    return scaled


def _encoded(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8-bit sRGB; the table is fine enough for the darkest levels, where the curve is straight and steep."""
    index = np.minimum(linear * np.float32(len(_ENCODED) - 1) + np.float32(0.5), len(_ENCODED) - 1)
    encoded: NDArray[np.uint8] = _ENCODED[index.astype(np.int32)]
    return encoded


def _encoding_table() -> NDArray[np.uint8]:
    light = np.arange(1 << 15) / ((1 << 15) - 1)
    sample = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.round(sample * 255).astype(np.uint8)
    return table


_ENCODED = _encoding_table()


def _matrix(chromaticities: Chromaticities) -> NDArray[np.float32]:
    """From linear light in these primaries to linear sRGB, whites adapted after Bradford."""
    source, target = _to_xyz(chromaticities), _to_xyz(SRGB)
    cones = _BRADFORD @ np.stack([source.sum(axis=1), target.sum(axis=1)], axis=1)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(cones[:, 1] / cones[:, 0]) @ _BRADFORD
    matrix: NDArray[np.float32] = (np.linalg.inv(target) @ adaptation @ source).astype(np.float32)
    return matrix


def _to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    points = np.array(chromaticities).reshape(4, 2)
    columns = np.stack([points[:, 0], points[:, 1], 1 - points.sum(axis=1)]) / points[:, 1]
    white, ends = columns[:, 0], columns[:, 1:]
    matrix: NDArray[np.float64] = ends * np.linalg.solve(ends, white)
    return matrix


def _luma_weights(chromaticities: Chromaticities) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = _to_xyz(chromaticities)[1].astype(np.float32)
    return weights
