"""The context model of autoregressive codecs, many positions at a time.

A masked 5x5 window looks two rows up and two columns to either side, so all positions with the same column + 3 * row
depend only on earlier such diagonals ("wavefronts") and go together through every layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec.nets.compression.fixed_point import LIMIT, UNIT, ExactLinear, Fixed, Floats
from codec.nets.compression.tables import Integers

SLOPE = 3
REACH = 2
TAPS = tuple((down, right) for down in range(-REACH, 1) for right in range(-REACH, REACH + 1) if down < 0 or right < 0)
"""The 12 decided neighbours, in the order of a kernel's rows: how many rows and columns away they are."""

_AGES = [-(right + SLOPE * down) for down, right in TAPS]
"""How many wavefronts before the present one a neighbour was settled."""
_KEPT = max(_AGES) + 1
"""Wavefronts that later ones still need, and the present one."""

Settle = Callable[[Integers, Integers, Floats, Floats], Integers]
"""Given rows and columns (n,) with scales and means (n, M) in units, their symbols (n, M)."""


@dataclass(frozen=True)
class ContextModel:
    """The layers from a position's surroundings to its M scales and M means.

    `first` is over the hyperprior's 2 * M values and those of the 12 neighbours, 12 * M: nothing lies between the
    masked convolution and the 1x1 layer after it, so they are one.
    """

    first: ExactLinear
    rest: tuple[ExactLinear, ...]

    def run(self, hyper: Fixed, settle: Settle) -> Fixed:
        """The latent (H, W, M) in units, its symbols settled wavefront by wavefront; `hyper`: (H, W, 2 * M)."""
        rows, columns, doubled = hyper.shape
        channels = doubled // 2
        latent = np.empty((rows, columns, channels), dtype=np.int32)
        recent = _Recent(rows, columns, channels)
        for wave in range(columns + SLOPE * (rows - 1)):
            on_rows, on_columns = recent.positions(wave)
            settled = np.empty((0, channels))
            # Pictures of one or two columns leave some wavefronts empty.
            if len(on_rows):
                values = self.first(np.concatenate([hyper[on_rows, on_columns], recent.neighbours(wave)], axis=1))
                for layer in self.rest:
                    values = layer(values)
                scales, means = values[:, :channels], values[:, channels:]
                settled = np.clip(settle(on_rows, on_columns, scales, means) * UNIT + means, -LIMIT, LIMIT)
                latent[on_rows, on_columns] = settled
            recent.put(wave, settled)
        return latent


class _Recent:
    """The wavefronts that later ones need, each as a row, so that neighbours of consecutive positions are adjacent."""

    def __init__(self, rows: int, columns: int, channels: int) -> None:
        self._rows, self._columns = rows, columns
        # The first places of a row stand for what is above the picture and stay zero, as do those next to it.
        self._values = np.zeros((_KEPT, REACH + rows, channels))

    def positions(self, wave: int) -> tuple[Integers, Integers]:
        """Rows and columns of a wavefront, from the top."""
        on_rows = np.arange(*self._span(wave))
        return on_rows, wave - SLOPE * on_rows

    def neighbours(self, wave: int) -> Floats:
        """(n, 12 * C) what lies around each position of a wavefront, zero outside the picture."""
        top, bottom = self._span(wave)
        found = np.empty((bottom - top, len(TAPS), self._values.shape[2]))
        for tap, ((down, _), age) in enumerate(zip(TAPS, _AGES, strict=True)):
            row = down + REACH
            found[:, tap] = self._values[(wave - age) % _KEPT, top + row : bottom + row]
        return found.reshape(len(found), found.shape[1] * found.shape[2])

    def put(self, wave: int, values: Floats) -> None:
        """Take a wavefront's values in, in place of one that is no longer needed."""
        top, bottom = self._span(wave)
        row = self._values[wave % _KEPT]
        row[REACH:] = 0.0
        row[REACH + top : REACH + bottom] = values

    def _span(self, wave: int) -> tuple[int, int]:
        top = max(0, -(-(wave - self._columns + 1) // SLOPE))
        return top, max(top, min(self._rows - 1, wave // SLOPE) + 1)
