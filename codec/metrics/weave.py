"""Weave: how far regular patterns in step with a network's grid stand out of a picture, in dB. Uses no network."""

import numpy as np
import numpy.typing as npt

from codec.metrics.metric import View, require_side

BLOCK_PX = 64
"""Edge of the blocks whose spectra are taken."""

_STEP = BLOCK_PX // 8
"""Grid frequencies are multiples of 1/8 cycle a pixel: the periods 8, 4, 2.7 and 2 pixels."""

_NEAR, _RING_INNER, _RING_OUTER = 1, 3, 4
"""Bins around a frequency that count as its peak, and those that count as its surroundings."""

_FLOOR = 1e-3
"""Added to every level: far below the level of rounding to 8 bits, so that black pictures have a quotient."""

_LUMA = np.array([0.299, 0.587, 0.114])

Spectrum = npt.NDArray[np.float64]


class Weave:
    """The worst grid frequency's peak over its surroundings and over the original's peak there, in dB."""

    name = "weave"
    is_distance = True

    def score(self, original: View, candidate: View) -> float:
        """The smaller of the two at each grid frequency, the largest of these; 0 or less for what an original has
        itself. Undefined below 64 pixels a side."""
        require_side(original, BLOCK_PX)
        if self.name not in original.memo:
            original.memo[self.name] = block_spectrum(original.pixels)
        return weave_of(original.memo[self.name], block_spectrum(candidate.pixels))


def block_spectrum(pixels: npt.NDArray[np.uint8]) -> Spectrum:
    """(64, 64): the median over all whole 64x64 blocks of the squared spectrum of (H, W, 3) RGB samples' luma."""
    luma = pixels @ _LUMA
    rows, columns = (side // BLOCK_PX for side in luma.shape)
    blocks = luma[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX).swapaxes(1, 2)
    blocks = blocks - blocks.mean((2, 3), keepdims=True)
    window = np.hanning(BLOCK_PX)
    spectra = np.abs(np.fft.fft2(blocks * np.outer(window, window))) ** 2
    return np.asarray(np.median(spectra, (0, 1)))


def weave_of(original: Spectrum, candidate: Spectrum) -> float:
    """The weave of a picture with the spectrum `candidate` beside an original with the spectrum `original`, in dB."""
    figures = []
    for frequency in _GRID:
        peak = _near(candidate, frequency).max() + _FLOOR
        surroundings = float(np.median(_ring(candidate, frequency))) + _FLOOR
        figures.append(peak / max(surroundings, _near(original, frequency).max() + _FLOOR))
    return float(10 * np.log10(max(figures)))


def _grid() -> list[tuple[int, int]]:
    """Axes and both diagonals; of each pair of mirrored frequencies, which have equal levels, the first."""
    multiples = range(_STEP, BLOCK_PX, _STEP)
    axes = [pair for multiple in multiples for pair in ((0, multiple), (multiple, 0))]
    diagonals = [pair for multiple in multiples for pair in ((multiple, multiple), (multiple, BLOCK_PX - multiple))]
    found: list[tuple[int, int]] = []
    for row, column in axes + diagonals:
        if (-row % BLOCK_PX, -column % BLOCK_PX) not in found and (row, column) not in found:
            found.append((row, column))
    return found


_GRID = _grid()


def _near(spectrum: Spectrum, frequency: tuple[int, int]) -> Spectrum:
    return _square(spectrum, frequency, _NEAR)


def _ring(spectrum: Spectrum, frequency: tuple[int, int]) -> Spectrum:
    distance = np.abs(np.arange(-_RING_OUTER, _RING_OUTER + 1))
    is_ring = np.maximum(distance[:, None], distance[None]) >= _RING_INNER
    ring: Spectrum = _square(spectrum, frequency, _RING_OUTER)[is_ring]
    return ring


def _square(spectrum: Spectrum, frequency: tuple[int, int], reach: int) -> Spectrum:
    steps = np.arange(-reach, reach + 1)
    square: Spectrum = spectrum[np.ix_((frequency[0] + steps) % BLOCK_PX, (frequency[1] + steps) % BLOCK_PX)]
    return square
