"""Probability tables as integers: of Gaussians at 64 scales, and of a hyperprior's own learned distributions.

Everything is computed from constants and weights by `portable_math`, so that every machine has the same tables. It
codes nothing itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from codec.errors import WeightsCorrupt
from codec.nets.compression import portable_math
from codec.nets.compression.portable_math import Floats

Integers = npt.NDArray[np.int64]

PROBABILITY_BITS = 16
_WHOLE = 1 << PROBABILITY_BITS

SCALES = 64
_LEAST_SCALE_LOG, _GREATEST_SCALE_LOG = -2.20727491318972, 5.545177444479562
"""ln 0.11 and ln 256: the ends of the scales that CompressAI and its forerunner use, evenly spaced in the logarithm."""

_LEARNED_REACH = 512
"""Values farther than this from a learned distribution's median are always coded as escapes."""

_LEAST_WORTH = 2.0**-12
"""Values of less mass than this share of 1 / 65536 get no entry. An entry takes 1 / 65536 from all others, which at the
widest scale comes to 0.3 per cent of the bits; an escape costs a network that misjudges its scales 6 bits or more."""

_CHANNELS_AT_ONCE = 64

_LAYERS = 5
"""Of the small network that is a learned distribution's cumulative function (Ballé et al., arXiv 1802.01436, 6.1)."""


LOOKUP_SHIFT = 6
Lookup = tuple[list[int], list[int], list[int]]
"""The entry that each 2**6th place lies in, all starts with a closing 65536, and all counts. From there it is a step or
two to the entry of any place between, which takes less than a search."""


@dataclass(frozen=True)
class Tables:
    """Tables 0 to T - 1, each with entries for the values low to high and one last entry for all others.

    `low`, `high`: (T,). Table t's entries begin at `first[t]` of `starts`, where each entry's place in [0, 65536)
    begins and, after the last entry, 65536 itself stands.
    """

    low: Integers
    high: Integers
    first: Integers
    starts: Integers

    @cached_property
    def lookups(self) -> list[Lookup]:
        """Each table as the decoder's loop wants it."""
        ends = np.append(self.first[1:], len(self.starts))
        return [lookup(self.starts[start:end].tolist()) for start, end in zip(self.first, ends, strict=True)]

    @property
    def escapes(self) -> Integers:
        """(T,) the number of each table's last entry."""
        return self.high - self.low + 1


def lookup(starts: list[int]) -> Lookup:
    """A table's starts with its closing 65536, made ready for decoding."""
    counts = [end - start for start, end in pairwise(starts)]
    places = np.arange(0, _WHOLE, 1 << LOOKUP_SHIFT)
    return (np.searchsorted(starts, places, side="right") - 1).tolist(), starts, counts


def scale_table() -> Floats:
    """(64,) the standard deviations that tables exist for, ascending from 0.11 to 256."""
    step = (_GREATEST_SCALE_LOG - _LEAST_SCALE_LOG) / (SCALES - 1)
    return portable_math.exp(_LEAST_SCALE_LOG + np.arange(SCALES, dtype=np.float64) * step)


@lru_cache(maxsize=1)
def gaussian_tables() -> Tables:
    """One table a scale, for whole numbers around a mean of 0."""
    masses, lows = [], []
    for scale in scale_table():
        edges = portable_math.normal_mass((np.arange(_LEARNED_REACH * 4, dtype=np.float64) + 0.5) / scale)
        side = edges[1:] - edges[:-1]
        reach = _reach(side)
        side = side[:reach]
        masses.append(np.concatenate([side[::-1], [2.0 * edges[0]], side]))
        lows.append(-reach)
    return _build(lows, masses)


def learned_tables(weights: Mapping[str, Floats], medians: Floats) -> Tables:
    """One table a channel, for whole numbers around the channel's median.

    `weights`: matrices.0 (C, 3, 1) to matrices.4 (C, 1, 3), biases.0 to .4 and factors.0 to .3 alike, float64;
    `medians`: (C,). Raises WeightsCorrupt when they are no distribution.
    """
    matrices = [portable_math.softplus(weights[f"matrices.{layer}"]) for layer in range(_LAYERS)]
    biases = [weights[f"biases.{layer}"] for layer in range(_LAYERS)]
    factors = [portable_math.tanh(weights[f"factors.{layer}"]) for layer in range(_LAYERS - 1)]
    offsets = np.arange(-_LEARNED_REACH, _LEARNED_REACH + 2, dtype=np.float64) - 0.5
    masses, lows = [], []
    # A few channels at a time bound what the intermediate values take.
    for begin in range(0, len(medians), _CHANNELS_AT_ONCE):
        part = slice(begin, begin + _CHANNELS_AT_ONCE)
        places = medians[part, None, None] + offsets[None, None, :]
        with np.errstate(over="ignore", invalid="ignore"):
            cumulative = _cumulative(
                places, [m[part] for m in matrices], [b[part] for b in biases], [f[part] for f in factors]
            )
        for mass in cumulative[:, 1:] - cumulative[:, :-1]:
            below, above = mass[:_LEARNED_REACH][::-1], mass[_LEARNED_REACH + 1 :]
            low, high = _reach(below), _reach(above)
            masses.append(mass[_LEARNED_REACH - low : _LEARNED_REACH + high + 1])
            lows.append(-low)
    return _build(lows, masses)


def _cumulative(places: Floats, matrices: list[Floats], biases: list[Floats], factors: list[Floats]) -> Floats:
    """(C, P) the distribution's cumulative function at `places` (C, 1, P); ordered sums, no matrix product."""
    values = places
    for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        total = matrix[:, :, :1] * values[:, :1, :]
        for column in range(1, matrix.shape[2]):
            total = total + matrix[:, :, column : column + 1] * values[:, column : column + 1, :]
        values = total + bias
        if not np.isfinite(values).all():
            raise WeightsCorrupt("The entropy bottleneck of the weights is no distribution: its values are not finite.")
        if layer < len(factors):
            values = values + factors[layer] * portable_math.tanh(values)
    return portable_math.sigmoid(values[:, 0, :])


def _reach(masses: Floats) -> int:
    """How many values going outward get entries: at least 1, and all up to the last that is worth it."""
    worthwhile = np.flatnonzero(masses * _WHOLE >= _LEAST_WORTH)
    return max(1, int(worthwhile[-1]) + 1) if len(worthwhile) else 1


def _build(lows: list[int], masses: list[Floats]) -> Tables:
    """Tables whose entries get at least 1 / 65536 each, the rest in proportion, and what rounding leaves the largest.

    The escape gets what its table's masses lack of 1.
    """
    starts = []
    for mass in masses:
        entries = len(mass) + 1
        shares = np.append(mass, max(0.0, 1.0 - _ordered_sum(mass)))
        frequencies = 1 + np.floor(np.clip(shares, 0.0, 1.0) * (_WHOLE - entries)).astype(np.int64)
        frequencies[np.argmax(frequencies)] += _WHOLE - frequencies.sum()
        if frequencies.min() < 1:
            raise WeightsCorrupt("The entropy bottleneck of the weights is no distribution: its masses exceed 1.")
        starts.append(np.concatenate([[0], np.cumsum(frequencies)]))
    low = np.array(lows, dtype=np.int64)
    counts = np.array([len(mass) for mass in masses], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(counts + 2)[:-1]])
    return Tables(low=low, high=low + counts - 1, first=first, starts=np.concatenate(starts))


def _ordered_sum(values: Floats) -> float:
    """A sum from the first value to the last; numpy's own order of adding is its implementation's choice."""
    total = 0.0
    for value in values.tolist():
        total += value
    return total
