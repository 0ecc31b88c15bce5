"""Convolutions as integer arithmetic carried in float64, so that every machine gets the same values from them.

Values are whole multiples of 2**-14. Weights are rounded to as many bits as keep every sum of products below 2**53,
where float64 holds all integers: whatever order, blocking, fused operations or threads a matrix product uses, it has
nothing to round. What follows it (a power of two, a leaky ReLU, one rounding, a cut) is single IEEE operations.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.errors import WeightsCorrupt

Floats = npt.NDArray[np.float64]
Fixed = npt.NDArray[np.int32]
"""Values in units of 2**-14."""
Whole = Fixed | Floats
"""The same, where whole numbers in float64 do as well."""

FRACTION_BITS = 14
UNIT = 1 << FRACTION_BITS

LIMIT = 1 << 28
"""Values are cut to +-2**28 units, that is +-16384."""

_WEIGHT_SUM_BITS = 24
"""The absolute weights of one output add up to at most 2**24 units: with LIMIT, sums of products stay within 2**52."""
_BIAS_LIMIT = 1 << 52
_PRODUCT_BITS = 52
_MOST_WEIGHT_BITS = 24
"""Finer than float32 weights of usual size."""

_POSITIONS_AT_ONCE = 192
"""Rows are convolved a few at a time: the neighbourhoods of so many positions, with 192 channels, take 7 MB."""

_ROWS_TOGETHER = 4
"""Matrix libraries take rows by fours; two or three left over take longer than four."""


def product(values: Floats, matrix: Tensor) -> Floats:
    """(n, I) whole numbers times (I, O) whole numbers: (n, O)."""
    count = len(values)
    if count % _ROWS_TOGETHER > 1:
        values = np.concatenate([values, np.zeros((-count % _ROWS_TOGETHER, values.shape[1]))])
    result: Floats = torch.mm(torch.from_numpy(values), matrix).numpy()
    return result[:count]


@dataclass(frozen=True)
class ExactLinear:
    """A matrix product with bias, optional (leaky) ReLU, and the way back to whole units.

    `matrix`: (I, O) whole numbers, contiguous, which a product of few rows reads a third faster than the other way
    round; `bias`: (O,) whole; `shrink`: (O,) powers of two that undo the weights' scaling; `slope`: what negative
    results are multiplied by, 1 for no activation.
    """

    matrix: Tensor
    bias: Floats
    shrink: Floats
    slope: float

    def __call__(self, values: Floats) -> Floats:
        """(n, I) to (n, O), whole units within LIMIT both."""
        return self.finish(product(values, self.matrix))

    def finish(self, sums: Floats) -> Floats:
        """From sums of products (n, O), which may be put together from parts, to values; changes its argument."""
        result = sums
        result += self.bias
        result *= self.shrink
        if self.slope == 0.0:
            np.maximum(result, 0.0, out=result)
        elif self.slope != 1.0:
            np.maximum(result, result * self.slope, out=result)
        np.rint(result, out=result)
        # Two steps, because for small arrays clip takes several times as long.
        np.maximum(result, -LIMIT, out=result)
        return np.minimum(result, LIMIT, out=result)


@dataclass(frozen=True)
class ExactConvolution:
    """A convolution of odd edge, stride 1 and zero padding to the same size, then a pixel shuffle by `shuffle`."""

    linear: ExactLinear
    edge: int
    shuffle: int = 1

    @property
    def outputs(self) -> int:
        """Channels after the shuffle."""
        return len(self.linear.bias) // self.shuffle**2

    def __call__(self, picture: Fixed) -> Fixed:
        """(H, W, I) to (H * shuffle, W * shuffle, O)."""
        rows, columns, channels = picture.shape
        margin, factor = self.edge // 2, self.shuffle
        padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)))
        result = np.empty((rows, factor, columns, factor, self.outputs), dtype=np.int32)
        at_once = max(1, _POSITIONS_AT_ONCE // columns)

        for top in range(0, rows, at_once):
            bottom = min(rows, top + at_once)
            patches = np.empty((bottom - top, columns, self.edge, self.edge, channels))
            for down in range(self.edge):
                for right in range(self.edge):
                    patches[:, :, down, right] = padded[top + down : bottom + down, right : right + columns]
            values = self.linear(patches.reshape((bottom - top) * columns, -1))
            # Channel c * f^2 + a * f + b is the sub-pixel (a, b) of output channel c.
            shuffled = values.reshape(bottom - top, columns, self.outputs, factor, factor)
            result[top:bottom] = shuffled.transpose(0, 3, 1, 4, 2)
        return result.reshape(rows * factor, columns * factor, self.outputs)


def exact_linear(weights: Floats, bias: Floats, slope: float = 1.0) -> ExactLinear:
    """The layer of float weights (O, I) and bias (O,); raises WeightsCorrupt where they cannot be held exactly."""
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise WeightsCorrupt("The weights have values that are not finite.")
    bits = np.full(len(weights), _MOST_WEIGHT_BITS)
    for _ in range(_MOST_WEIGHT_BITS + 1):
        # Sums of whole numbers well below 2**53 are exact in any order, those above are refused in any order.
        scaled = np.rint(np.ldexp(weights, bits[:, None]))
        scaled_bias = np.rint(np.ldexp(bias, bits + FRACTION_BITS))
        too_large = (np.abs(scaled).sum(axis=1) > 1 << _WEIGHT_SUM_BITS) | (np.abs(scaled_bias) > _BIAS_LIMIT)
        if not too_large.any():
            break
        bits -= too_large
    else:
        raise WeightsCorrupt("The weights that choose probability tables are too large to be computed with exactly.")
    return ExactLinear(
        matrix=torch.from_numpy(np.ascontiguousarray(scaled.T)),
        bias=scaled_bias,
        shrink=np.ldexp(np.ones(len(bits)), -bits),
        slope=slope,
    )


def exact_composition(outer: Floats, inner: Floats) -> Floats:
    """The matrix product (O, K) times (K, I), of weights rounded so finely as still makes it exact.

    Both are rounded to multiples of the same power of two; raises WeightsCorrupt where not even whole numbers would do.
    """
    if not (np.isfinite(outer).all() and np.isfinite(inner).all()):
        raise WeightsCorrupt("The weights have values that are not finite.")
    for bits in range(_MOST_WEIGHT_BITS, -1, -1):
        left, right = np.rint(np.ldexp(outer, bits)), np.rint(np.ldexp(inner, bits))
        if float(np.abs(left).sum(axis=1).max()) * float(np.abs(right).max()) <= 1 << _PRODUCT_BITS:
            return np.ldexp(product(left, torch.from_numpy(right)), -2 * bits)
    raise WeightsCorrupt("The weights that choose probability tables are too large to be computed with exactly.")


def exact_convolution(weights: Floats, bias: Floats, *, slope: float = 1.0, shuffle: int = 1) -> ExactConvolution:
    """A torch Conv2d of stride 1 with weights (O, I, k, k), k odd, followed by PixelShuffle(shuffle)."""
    outputs, inputs, edge, _ = weights.shape
    matrix = weights.transpose(0, 2, 3, 1).reshape(outputs, edge * edge * inputs)
    return ExactConvolution(exact_linear(matrix, bias, slope), edge, shuffle)


def exact_transposed_convolution(weights: Floats, bias: Floats, *, slope: float = 1.0) -> ExactConvolution:
    """A torch ConvTranspose2d of edge 5, stride 2, padding 2, output padding 1, with weights (I, O, 5, 5).

    Sub-pixel (a, b) of an output sees a 3x3 neighbourhood through every second weight, so the layer is a 3x3
    convolution with four times the outputs and a shuffle by 2.
    """
    inputs, outputs = weights.shape[:2]
    kernel = np.zeros((outputs, 2, 2, inputs, 3, 3))
    taps = [(phase, offset, phase + 2 - 2 * offset) for phase in range(2) for offset in (-1, 0, 1)]
    inside = [tap for tap in taps if 0 <= tap[2] < 5]
    for down, row, from_row in inside:
        for right, column, from_column in inside:
            kernel[:, down, right, :, row + 1, column + 1] = weights[:, :, from_row, from_column].T
    return exact_convolution(kernel.reshape(outputs * 4, inputs, 3, 3), np.repeat(bias, 4), slope=slope, shuffle=2)
