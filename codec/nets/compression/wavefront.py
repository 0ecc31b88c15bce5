"""The context model of autoregressive codecs, many positions at a time.

A masked 5x5 window looks two rows up and two columns to either side, so all positions with the same column + 3 * row
depend only on earlier such diagonals ("wavefronts") and go together through every layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec.nets.compression.exact import LIMIT, UNIT, ExactLinear, Fixed, Floats
from codec.nets.compression.tables import Integers

SLOPE = 3
REACH = 2
TAPS = tuple((down, right) for down in range(-REACH, 1) for right in range(-REACH, REACH + 1) if down < 0 or right < 0)
"""The 12 decided neighbours, in the order of a kernel's rows: how many rows and columns away they are."""

_KEPT = SLOPE * REACH + REACH + 1
"""Wavefronts that later ones still look at, and the present one."""

Settle = Callable[[Integers, Integers, Floats, Floats], Integers]
"""Given rows and columns (n,) with scales and means (n, M) in units, their symbols (n, M)."""


@dataclass(frozen=True)
class ContextModel:
    """`context`: the masked convolution over 12 * M values; `parameters`: the 1x1 layers that follow, the first over
    the hyperprior's 2 * M values and the context's 2 * M, the last giving M scales and M means."""

    context: ExactLinear
    parameters: tuple[ExactLinear, ...]

    def run(self, hyper: Fixed, settle: Settle) -> Fixed:
        """The latent (H, W, M) in units, its symbols settled wavefront by wavefront; `hyper`: (H, W, 2 * M)."""
        rows, columns, doubled = hyper.shape
        channels = doubled // 2
        latent = np.empty((rows, columns, channels), dtype=np.int32)
        # Diagonals as rows of a table: the neighbours of consecutive rows on a diagonal are consecutive, too. The
        # first REACH entries stand for what is above the picture and stay zero.
        recent = np.zeros((_KEPT, rows + REACH, channels))
        gathered = np.empty((rows, len(TAPS), channels))
        features = np.empty((rows, 2 * doubled))
        for wave in range(columns + SLOPE * (rows - 1)):
            top, bottom = max(0, -(-(wave - columns + 1) // SLOPE)), min(rows - 1, wave // SLOPE) + 1
            present = recent[wave % _KEPT]
            present[REACH:] = 0.0
            count = bottom - top
            if not count:
                # Pictures of one or two columns leave some diagonals empty.
                continue
            on_rows = np.arange(top, bottom)
            on_columns = wave - SLOPE * on_rows
            for tap, (down, right) in enumerate(TAPS):
                diagonal = recent[(wave + right + SLOPE * down) % _KEPT]
                gathered[:count, tap] = diagonal[top + down + REACH : bottom + down + REACH]
            features[:count, :doubled] = hyper[on_rows, on_columns]
            features[:count, doubled:] = self.context(gathered[:count].reshape(count, -1))
            values = features[:count]
            for layer in self.parameters:
                values = layer(values)
            means = values[:, channels:]
            symbols = settle(on_rows, on_columns, values[:, :channels], means)
            settled = np.clip(symbols * UNIT + means, -LIMIT, LIMIT)
            present[top + REACH : bottom + REACH] = settled
            latent[on_rows, on_columns] = settled
        return latent
