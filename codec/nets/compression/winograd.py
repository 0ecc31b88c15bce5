"""3x3 convolutions with a quarter of the multiplications, for CPUs, where the decoder spends most of its time on them.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(4x4, 3x3): tiles of 6x6
inputs become 36 products of matrices and then 4x4 outputs. Works on (H, W, C) pictures, a few rows of tiles at a time,
so that what lies between stays near the processor. Float32 with an error of about 1e-5 of the largest value.
"""

import math
import threading

import torch
import torch.nn.functional as functional
from torch import Tensor

from codec.nets.compression import crew

_TILE, _STEP = 6, 4

_INPUT_TRANSFORM = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_KERNEL_TRANSFORM = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT_TRANSFORM = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)
# Both directions of a tile at once: one product with a matrix of 36 columns. It multiplies more than doing one
# direction after the other would, but reads and writes everything once, and mere additions would wait for memory.
_TO_TILES = torch.kron(torch.tensor(_INPUT_TRANSFORM), torch.tensor(_INPUT_TRANSFORM))
_FROM_TILES = torch.kron(torch.tensor(_OUTPUT_TRANSFORM), torch.tensor(_OUTPUT_TRANSFORM))

_TILES_AT_ONCE = 96
"""With 128 channels their 36 products take 1.8 MB."""

_BIAS_PLACE = _TILE + 1
"""Of the 36 products the one, second in both directions, that reaches every output of its tile with weight 1."""


class _Scratch(threading.local):
    """Memory that a thread keeps for what lies between: asking the system for it each time takes a tenth of all."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Memory of that shape with anything in it; what was taken by the same name before must not be used again."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = torch.empty(size)
        return self._buffers[name][:size].view(shape)


_SCRATCH = _Scratch()


class Convolution:
    """A 3x3 convolution to the same size, whose outputs may be the sub-pixels of a picture `shuffle` times as large."""

    def __init__(self, weights: Tensor, bias: Tensor, *, shuffle: int = 1) -> None:
        """`weights`: (O * shuffle**2, I, 3, 3), channels in PixelShuffle's order; `bias`: (O * shuffle**2,)."""
        total, inputs = weights.shape[:2]
        self._shuffle, self._outputs = shuffle, total // shuffle**2
        transform = torch.tensor(_KERNEL_TRANSFORM, dtype=torch.float64)
        kernels = torch.einsum("ab,oibc,dc->adio", transform, weights.double(), transform)
        kernels = kernels.reshape(_TILE * _TILE, inputs, self._outputs, shuffle, shuffle).float()
        # Each sub-pixel is a convolution of its own: together their products would not fit the cache.
        self._parts = [
            (
                row,
                column,
                kernels[:, :, :, row, column].contiguous(),
                bias.view(self._outputs, shuffle, shuffle)[:, row, column].contiguous(),
            )
            for row in range(shuffle)
            for column in range(shuffle)
        ]

    def __call__(self, x: Tensor, *, slope: float = 1.0, onto: Tensor | None = None) -> Tensor:
        """(H, W, I) to (H * shuffle, W * shuffle, O), through a leaky ReLU where `slope` is not 1.

        With `onto`, a picture of the result's shape, the result is added to it and nothing new of that size is made.
        """
        height, width, inputs = x.shape
        factor, outputs = self._shuffle, self._outputs
        down, across = -(-height // _STEP), -(-width // _STEP)
        result = x.new_empty(height * factor, width * factor, outputs) if onto is None else onto
        at_once = max(1, _TILES_AT_ONCE // across)

        def convolve(top: int) -> None:
            count = min(at_once, down - top)
            strip = _padded(x, _STEP * top - 1, _STEP * (top + count) + 1, _STEP * across + 2)
            patches = _SCRATCH.take("patches", _TILE, _TILE, count, across, inputs)
            patches.copy_(_patches(strip, count, across))
            tiles = _SCRATCH.take("tiles", _TILE * _TILE, count * across, inputs)
            torch.mm(_TO_TILES, patches.view(_TILE * _TILE, -1), out=tiles.view(_TILE * _TILE, -1))
            shown = _SCRATCH.take("shown", count, _STEP, factor, across, _STEP, factor, outputs)
            for row, column, kernels, bias in self._parts:
                products = _SCRATCH.take("products", _TILE * _TILE, count * across, outputs)
                torch.bmm(tiles, kernels, out=products)
                products[_BIAS_PLACE] += bias
                pixels = _SCRATCH.take("pixels", _STEP, _STEP, count, across, outputs)
                torch.mm(_FROM_TILES, products.view(_TILE * _TILE, -1), out=pixels.view(_STEP * _STEP, -1))
                # From (row in tile, column in tile, tile row, tile column, channel) to every so-manieth pixel.
                shown[:, :, row, :, :, column] = pixels.permute(2, 0, 3, 1, 4)
            if slope != 1.0:
                functional.leaky_relu_(shown, slope)
            place = result[_STEP * factor * top : _STEP * factor * (top + count)]
            part = shown.view(_STEP * factor * count, _STEP * factor * across, outputs)
            part = part[: place.shape[0], : place.shape[1]]
            if onto is None:
                place.copy_(part)
            else:
                place.add_(part)

        crew.in_pieces(convolve, range(0, down, at_once))
        return result


def shuffled_weights(weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Those of a 3x3 convolution that, with a shuffle by 2, does what a transposed one does.

    That one is a ConvTranspose2d of edge 5, stride 2, padding 2, output padding 1, with weights (I, O, 5, 5).

    Sub-pixel (a, b) of an output sees a 3x3 neighbourhood through every second weight.
    """
    inputs, outputs = weights.shape[:2]
    kernel = weights.new_zeros(outputs, 2, 2, inputs, 3, 3)
    taps = [(phase, offset + 1, phase + 2 - 2 * offset) for phase in range(2) for offset in (-1, 0, 1)]
    inside = [tap for tap in taps if 0 <= tap[2] < 5]
    for row_phase, row, from_row in inside:
        for column_phase, column, from_column in inside:
            kernel[:, row_phase, column_phase, :, row, column] = weights[:, :, from_row, from_column].T
    return kernel.view(outputs * 4, inputs, 3, 3), bias.repeat_interleave(4)


def _padded(x: Tensor, top: int, bottom: int, width: int) -> Tensor:
    """Rows `top` to `bottom` of (H, W, C), a column to the left and more to the right up to `width`, zero outside."""
    strip = _SCRATCH.take("strip", bottom - top, width, x.shape[2])
    first, last = max(0, top), min(len(x), bottom)
    strip[: first - top], strip[last - top :] = 0.0, 0.0
    strip[:, 0], strip[:, 1 + x.shape[1] :] = 0.0, 0.0
    strip[first - top : last - top, 1 : 1 + x.shape[1]] = x[first:last]
    return strip


def _patches(strip: Tensor, count: int, across: int) -> Tensor:
    """(6, 6, count, across, C) what the tiles of a padded strip see, as a view of it."""
    row, column, channel = strip.stride()
    shape = _TILE, _TILE, count, across, strip.shape[2]
    return strip.as_strided(shape, (row, column, _STEP * row, _STEP * column, channel))
