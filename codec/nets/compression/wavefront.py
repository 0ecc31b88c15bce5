"""The context model of autoregressive codecs, many positions at a time.

A masked 5x5 window looks two rows up and two columns to either side, so all positions with the same column + 3 * row
depend only on earlier such diagonals ("wavefronts") and go together through every layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from codec.nets.compression.crew import Beside, once_asked_for
from codec.nets.compression.exact import LIMIT, UNIT, ExactLinear, Fixed, Floats, product
from codec.nets.compression.tables import Integers

SLOPE = 3
REACH = 2
TAPS = tuple((down, right) for down in range(-REACH, 1) for right in range(-REACH, REACH + 1) if down < 0 or right < 0)
"""The 12 decided neighbours, in the order of a kernel's rows: how many rows and columns away they are."""

_AGES = [-(right + SLOPE * down) for down, right in TAPS]
"""How many wavefronts before the present one a neighbour was settled."""
_NEW = [tap for tap, age in enumerate(_AGES) if age == 1]
_OLD = [tap for tap, age in enumerate(_AGES) if age > 1]
_KEPT = max(_AGES) + 1
"""Wavefronts that later ones still look at, and the present one."""

Settle = Callable[[Integers, Integers, Floats, Floats], Integers]
"""Given rows and columns (n,) with scales and means (n, M) in units, their symbols (n, M)."""


@dataclass(frozen=True)
class ContextModel:
    """`context`: the masked convolution over 12 * M values; `parameters`: the 1x1 layers that follow, the first over
    the hyperprior's 2 * M values and the context's 2 * M, the last giving M scales and M means."""

    context: ExactLinear
    parameters: tuple[ExactLinear, ...]

    def run(self, hyper: Fixed, settle: Settle, beside: Beside = once_asked_for) -> Fixed:
        """The latent (H, W, M) in units, its symbols settled wavefront by wavefront; `hyper`: (H, W, 2 * M).

        Most of a wavefront's arithmetic needs nothing of the one before it and is done `beside` that one.
        """
        rows, columns, doubled = hyper.shape
        latent = np.empty((rows, columns, doubled // 2), dtype=np.int32)
        recent = _Recent(rows, columns, doubled // 2)
        waves = columns + SLOPE * (rows - 1)

        def prepare(wave: int) -> Callable[[], tuple[Floats, Floats]]:
            return beside(lambda: self._prepare(wave, hyper, recent))

        ahead = prepare(0)
        for wave in range(waves):
            from_context, from_hyper = ahead()
            if wave + 1 < waves:
                ahead = prepare(wave + 1)
            on_rows, on_columns = recent.positions(wave)
            settled = np.empty((0, latent.shape[2]))
            # Pictures of one or two columns leave some wavefronts empty.
            if len(on_rows):
                from_context += product(recent.neighbours(wave, _NEW), self._new_matrix)
                from_hyper += product(self.context.finish(from_context), self._context_matrix)
                values = self.parameters[0].finish(from_hyper)
                for layer in self.parameters[1:]:
                    values = layer(values)
                scales, means = values[:, : latent.shape[2]], values[:, latent.shape[2] :]
                settled = np.clip(settle(on_rows, on_columns, scales, means) * UNIT + means, -LIMIT, LIMIT)
                latent[on_rows, on_columns] = settled
            recent.put(wave, settled)
        return latent

    def _prepare(self, wave: int, hyper: Fixed, recent: "_Recent") -> tuple[Floats, Floats]:
        """The parts of the context's and the first layer's sums that do not look at the wavefront just before."""
        values = hyper[recent.positions(wave)].astype(np.float64)
        return product(recent.neighbours(wave, _OLD), self._old_matrix), product(values, self._hyper_matrix)

    @cached_property
    def _new_matrix(self) -> Tensor:
        return self._of_taps(_NEW)

    @cached_property
    def _old_matrix(self) -> Tensor:
        return self._of_taps(_OLD)

    @cached_property
    def _hyper_matrix(self) -> Tensor:
        return self.parameters[0].matrix[:, : len(self.context.bias)].contiguous()

    @cached_property
    def _context_matrix(self) -> Tensor:
        return self.parameters[0].matrix[:, len(self.context.bias) :].contiguous()

    def _of_taps(self, taps: list[int]) -> Tensor:
        matrix = self.context.matrix
        return matrix.view(len(matrix), len(TAPS), -1)[:, taps].flatten(1).contiguous()


class _Recent:
    """The wavefronts that later ones look at, each as a row: neighbours of consecutive positions lie side by side."""

    def __init__(self, rows: int, columns: int, channels: int) -> None:
        self._rows, self._columns = rows, columns
        # The first places of a row stand for what is above the picture and stay zero, as do those beside it.
        self._values = np.zeros((_KEPT, REACH + rows, channels))

    def positions(self, wave: int) -> tuple[Integers, Integers]:
        """Rows and columns of a wavefront, from the top."""
        on_rows = np.arange(*self._span(wave))
        return on_rows, wave - SLOPE * on_rows

    def neighbours(self, wave: int, taps: list[int]) -> Floats:
        """(n, taps * C) what lies around each position of a wavefront, zero outside the picture."""
        top, bottom = self._span(wave)
        found = np.empty((bottom - top, len(taps), self._values.shape[2]))
        for place, tap in enumerate(taps):
            row = TAPS[tap][0] + REACH
            found[:, place] = self._values[(wave - _AGES[tap]) % _KEPT, top + row : bottom + row]
        return found.reshape(len(found), found.shape[1] * found.shape[2])

    def put(self, wave: int, values: Floats) -> None:
        """Take a wavefront's values in, in place of one that nobody looks at any more."""
        top, bottom = self._span(wave)
        row = self._values[wave % _KEPT]
        row[REACH:] = 0.0
        row[REACH + top : REACH + bottom] = values

    def _span(self, wave: int) -> tuple[int, int]:
        top = max(0, -(-(wave - self._columns + 1) // SLOPE))
        return top, max(top, min(self._rows - 1, wave // SLOPE) + 1)
