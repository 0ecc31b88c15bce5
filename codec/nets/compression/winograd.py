"""3x3 convolutions with a quarter of the multiplications, for CPUs, where the decoder spends most of its time on them.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), F(4x4, 3x3): tiles of 6x6
inputs become 36 products of matrices and then 4x4 outputs. Works on (H, W, C) pictures, a few rows of tiles at a time,
so that what lies between stays in the processor's cache. Float32 with an error of about 1e-5 of the largest value.
"""

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

_TILES_AT_ONCE = 192
"""With 128 channels their 36 products take 3.5 MB."""

_BIAS_PLACE = _TILE + 1
"""Of the 36 products the one, second in both directions, that reaches every output of its tile with weight 1."""


class Convolution:
    """A 3x3 convolution to the same size, whose outputs may be the sub-pixels of a picture `shuffle` times as large."""

    def __init__(self, weights: Tensor, bias: Tensor, *, shuffle: int = 1) -> None:
        """`weights`: (O * shuffle**2, I, 3, 3), channels in PixelShuffle's order; `bias`: (O * shuffle**2,)."""
        total, inputs = weights.shape[:2]
        self._shuffle, self._outputs = shuffle, total // shuffle**2
        # From (channel, sub-pixel) to (sub-pixel, channel), so that channels end up side by side.
        order = torch.arange(total).view(self._outputs, shuffle**2).T.flatten()
        transform = torch.tensor(_KERNEL_TRANSFORM, dtype=torch.float64)
        kernels = torch.einsum("ab,oibc,dc->adio", transform, weights[order].double(), transform)
        self._kernels = kernels.reshape(_TILE * _TILE, inputs, total).float().contiguous()
        self._bias = bias[order].contiguous()

    def __call__(self, x: Tensor, *, slope: float = 1.0, added: Tensor | None = None) -> Tensor:
        """(H, W, I) to (H * shuffle, W * shuffle, O), through a leaky ReLU where `slope` is not 1, plus `added`."""
        height, width, inputs = x.shape
        factor, outputs = self._shuffle, self._outputs
        down, across = -(-height // _STEP), -(-width // _STEP)
        padded = functional.pad(x, (0, 0, 1, across * _STEP + 1 - width, 1, down * _STEP + 1 - height))
        result = x.new_empty(down, _STEP, factor, across, _STEP, factor, outputs)
        at_once = max(1, _TILES_AT_ONCE // across)

        def convolve(top: int) -> None:
            count = min(at_once, down - top)
            strip = padded[_STEP * top : _STEP * (top + count) + 2]
            rows = x.new_empty(_TILE, count, padded.shape[1], inputs)
            _to_tiles([strip[k : k + _STEP * count - 3 : _STEP] for k in range(_TILE)], rows)
            tiles = x.new_empty(_TILE, _TILE, count, across, inputs)
            _to_tiles([rows[:, :, k : k + _STEP * across - 3 : _STEP] for k in range(_TILE)], tiles.transpose(0, 1))
            products = torch.bmm(tiles.view(_TILE * _TILE, count * across, inputs), self._kernels)
            products[_BIAS_PLACE] += self._bias
            planes = products.view(_TILE, _TILE, count, across, factor, factor, outputs)
            narrowed = x.new_empty(_STEP, *planes.shape[1:])
            _from_tiles(planes, narrowed)
            # From (row in tile, column in tile, tile row, tile column, sub-row, sub-column, channel) to how it lies.
            target = result[top : top + count].permute(4, 0, 1, 2, 3, 5, 6)
            _from_tiles(narrowed.permute(1, 2, 0, 4, 3, 5, 6), target)
            if slope != 1.0:
                functional.leaky_relu_(result[top : top + count], slope)

        crew.in_pieces(convolve, range(0, down, at_once))
        picture = result.view(down * _STEP * factor, across * _STEP * factor, outputs)
        picture = picture[: height * factor, : width * factor].contiguous()
        return picture if added is None else picture.add_(added)


def from_transposed(weights: Tensor, bias: Tensor) -> Convolution:
    """ConvTranspose2d of edge 5, stride 2, padding 2, output padding 1, weights (I, O, 5, 5), as a shuffled 3x3 one.

    Sub-pixel (a, b) of an output sees a 3x3 neighbourhood through every second weight.
    """
    inputs, outputs = weights.shape[:2]
    kernel = weights.new_zeros(outputs, 2, 2, inputs, 3, 3)
    taps = [(phase, offset + 1, phase + 2 - 2 * offset) for phase in range(2) for offset in (-1, 0, 1)]
    inside = [tap for tap in taps if 0 <= tap[2] < 5]
    for row_phase, row, from_row in inside:
        for column_phase, column, from_column in inside:
            kernel[:, row_phase, column_phase, :, row, column] = weights[:, :, from_row, from_column].T
    return Convolution(kernel.view(outputs * 4, inputs, 3, 3), bias.repeat_interleave(4), shuffle=2)


def _to_tiles(inputs: Sequence[Tensor], outputs: Tensor) -> None:
    """One direction of the input transform, six planes to six."""
    a, b, c, d, e, f = inputs
    torch.sub(e, c, alpha=5, out=outputs[0]).add_(a, alpha=4)
    even, odd = torch.sub(e, c, alpha=4), torch.sub(d, b, alpha=4)
    torch.add(even, odd, out=outputs[1])
    torch.sub(even, odd, out=outputs[2])
    torch.sub(e, c, out=even)
    torch.sub(d, b, out=odd)
    torch.add(even, odd, alpha=2, out=outputs[3])
    torch.sub(even, odd, alpha=2, out=outputs[4])
    torch.sub(f, d, alpha=5, out=outputs[5]).add_(b, alpha=4)


def _from_tiles(inputs: Tensor, outputs: Tensor) -> None:
    """One direction of the output transform, six planes to four."""
    near_sum, near_difference = inputs[1] + inputs[2], inputs[1] - inputs[2]
    far_sum, far_difference = inputs[3] + inputs[4], inputs[3] - inputs[4]
    torch.add(near_sum, far_sum, out=outputs[0]).add_(inputs[0])
    torch.add(near_difference, far_difference, alpha=2, out=outputs[1])
    torch.add(near_sum, far_sum, alpha=4, out=outputs[2])
    torch.add(near_difference, far_difference, alpha=8, out=outputs[3]).add_(inputs[5])
