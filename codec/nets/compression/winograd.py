"""3x3 convolutions with a quarter of the multiplications, for CPUs, where the decoder spends most of its time on them.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(4x4, 3x3): tiles of 6x6
inputs become 36 products of matrices and then 4x4 outputs. Works on (H, W, C) pictures, a few rows of tiles at a time,
so that what lies between stays in the processor's cache. Float32 with an error of about 1e-5 of the largest value.
"""

import math
import threading
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from codec.nets.compression import crew

_TILE, _STEP = 6, 4

_KERNEL_TRANSFORM = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)

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

    def like(self, name: str, other: Tensor) -> Tensor:
        """The same, of another tensor's shape."""
        return self.take(name, *other.shape)


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
            rows = _SCRATCH.take("rows", _TILE, count, strip.shape[1], inputs)
            _to_tiles([strip[k : k + _STEP * count - 3 : _STEP] for k in range(_TILE)], rows)
            tiles = _SCRATCH.take("tiles", _TILE, _TILE, count, across, inputs)
            _to_tiles([rows[:, :, k : k + _STEP * across - 3 : _STEP] for k in range(_TILE)], tiles.transpose(0, 1))
            tiles = tiles.view(_TILE * _TILE, count * across, inputs)
            shown = _SCRATCH.take("shown", count, _STEP, factor, across, _STEP, factor, outputs)
            for row, column, kernels, bias in self._parts:
                products = _SCRATCH.take("products", _TILE * _TILE, count * across, outputs)
                torch.bmm(tiles, kernels, out=products)
                products[_BIAS_PLACE] += bias
                planes = products.view(_TILE, _TILE, count, across, outputs)
                narrowed = _SCRATCH.take("narrowed", _STEP, *planes.shape[1:])
                _from_tiles(planes, narrowed)
                # From (row in tile, column in tile, tile row, tile column, channel) to every so-manieth pixel.
                pixels = shown[:, :, row, :, :, column].permute(3, 0, 1, 2, 4)
                _from_tiles(narrowed.permute(1, 2, 0, 3, 4), pixels)
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


def _to_tiles(inputs: Sequence[Tensor], outputs: Tensor) -> None:
    """One direction of the input transform, six planes to six."""
    a, b, c, d, e, f = inputs
    even, odd = _SCRATCH.like("even", a), _SCRATCH.like("odd", a)
    torch.sub(e, c, alpha=5, out=outputs[0]).add_(a, alpha=4)
    torch.sub(e, c, alpha=4, out=even)
    torch.sub(d, b, alpha=4, out=odd)
    torch.add(even, odd, out=outputs[1])
    torch.sub(even, odd, out=outputs[2])
    torch.sub(e, c, out=even)
    torch.sub(d, b, out=odd)
    torch.add(even, odd, alpha=2, out=outputs[3])
    torch.sub(even, odd, alpha=2, out=outputs[4])
    torch.sub(f, d, alpha=5, out=outputs[5]).add_(b, alpha=4)


def _from_tiles(inputs: Tensor, outputs: Tensor) -> None:
    """One direction of the output transform, six planes to four."""
    a, b, c, d, e, f = inputs
    near, far = _SCRATCH.like("even", a), _SCRATCH.like("odd", a)
    torch.add(b, c, out=near)
    torch.add(d, e, out=far)
    torch.add(near, far, out=outputs[0]).add_(a)
    torch.add(near, far, alpha=4, out=outputs[2])
    torch.sub(b, c, out=near)
    torch.sub(d, e, out=far)
    torch.add(near, far, alpha=2, out=outputs[1])
    torch.add(near, far, alpha=8, out=outputs[3]).add_(f)
