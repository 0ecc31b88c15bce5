"""The trunk of an RRDBNet with fewer multiplications: Winograd's convolutions, for processors that have to do each one.

Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308) makes a tile of 4 x 4 results by 36 products where the sum
over taps takes 144. Around them go two transforms, of the 6 x 6 values that a tile sees and of its 36 products. In a
dense block every convolution sees the features of all before it, so that each of these is transformed once and used by
all that follow. Kernels are transformed each time they are used, into memory that the caches hold: to read transformed
ones, four times as large, takes as long, and before the first picture nothing has to be done.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codec.nets.lite.rrdbnet import RESIDUAL_SCALE, SLOPE, Block, DenseBlock

_TILE, _SEEN = 4, 6
"""Edges of a tile of results, and of the square of values that it sees."""

_PRODUCTS = _SEEN**2

_OF_VALUES = torch.tensor(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], dtype=torch.float64,
)  # fmt: skip
_OF_KERNELS = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
) / 24  # fmt: skip
_OF_PRODUCTS = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
"""The three transforms of one axis, with the points 0, 1, -1, 2, -2 and infinity."""

_CONSTANT = _SEEN + 1
"""Product whose transform is the same everywhere in a tile, and which a bias therefore joins."""


class WinogradTrunk(nn.Module):
    """Blocks of an RRDBNet: takes and gives features (B, C, h, w), as those do but for rounding (1e-5 of the largest).

    Between the blocks features are phases (4, 4, C, B, tiles down, tiles across): the value in row 4 i + a and column
    4 j + b of a picture is in phase (a, b) of its tile (i, j). So each phase is a whole picture of its own, and what
    a tile sees beyond its edge is a phase moved by one tile.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(cast(Block, block)) for block in blocks)
        self._widest = max(kernel.shape[1] for name, kernel in self.named_buffers() if "kernel" in name)
        self.register_buffer("of_values", torch.kron(_OF_VALUES, _OF_VALUES).float())
        self.register_buffer("of_products", torch.kron(_OF_PRODUCTS, _OF_PRODUCTS).float())
        self.register_buffer("of_kernels", torch.kron(_OF_KERNELS, _OF_KERNELS).float())

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, height, width = features.shape
        rows, columns = -(-height // _TILE), -(-width // _TILE)
        padded = F.pad(features, (0, columns * _TILE - width, 0, rows * _TILE - height))
        split = padded.reshape(batch, channels, rows, _TILE, columns, _TILE)
        phases = split.permute(3, 5, 1, 0, 2, 4).contiguous()
        transforms = [self.get_buffer(name) for name in ("of_values", "of_products", "of_kernels")]
        work = _Work(phases, (height, width), self._widest, *transforms)
        for block in self.blocks:
            phases = block(phases, work)
        joined = phases.permute(3, 2, 4, 0, 5, 1).reshape(padded.shape)
        return joined[:, :, :height, :width].contiguous(memory_format=torch.channels_last)


class _Work:
    """Memory of one pass, which all its convolutions use in turn, and the transforms of values, products and kernels.

    `size` is that of the features in rows and columns, `widest` the channels that a convolution sees at most.
    """

    def __init__(
        self,
        phases: Tensor,
        size: tuple[int, int],
        widest: int,
        of_values: Tensor,
        of_products: Tensor,
        of_kernels: Tensor,
    ) -> None:
        self._of_values, self._of_products, self._of_kernels = of_values, of_products, of_kernels
        self._tiles = phases.shape[3:]
        self._count = self._tiles.numel()
        self._beyond = [slice(side % _TILE or _TILE, None) for side in size]
        self._values = phases.new_empty(_PRODUCTS, widest, self._count)
        self._seen: dict[int, Tensor] = {}
        self._products: dict[int, Tensor] = {}
        self._kernels: dict[tuple[int, int], Tensor] = {}

    def transform(self, phases: Tensor, at: int) -> None:
        """Put the transformed values of features, given as phases, in place from channel `at` on."""
        channels = phases.shape[2]
        if channels not in self._seen:
            # What lies beyond the picture's edge is zero, here and for good.
            self._seen[channels] = phases.new_zeros(_SEEN, _SEEN, channels, *self._tiles)
        seen = self._seen[channels]
        _see(phases, seen)
        room = self._values[:, at : at + channels].view(_PRODUCTS, -1)
        torch.mm(self._of_values, seen.view(_PRODUCTS, -1), out=room)

    def convolved(self, kernel: Tensor, bias: Tensor) -> Tensor:
        """The phases of a convolution of the first channels in place, as many as the kernel (out, in, 9) sees."""
        channels, seen = kernel.shape[:2]
        if channels not in self._products:
            self._products[channels] = kernel.new_empty(_PRODUCTS, channels, self._count)
        products = self._products[channels]
        torch.bmm(self._transformed(kernel), self._values[:, :seen], out=products)
        products[_CONSTANT] += bias[:, None]
        phases = torch.mm(self._of_products, products.view(_PRODUCTS, -1)).view(_TILE, _TILE, channels, *self._tiles)
        down, across = self._beyond
        phases[down, :, :, :, -1, :] = 0
        phases[:, across, :, :, :, -1] = 0
        return phases

    def _transformed(self, kernel: Tensor) -> Tensor:
        """(36, out, in) of a kernel (out, in, 9), until the next one of its shape is."""
        channels = kernel.shape[0], kernel.shape[1]
        if channels not in self._kernels:
            self._kernels[channels] = kernel.new_empty(_PRODUCTS, *channels)
        transformed = self._kernels[channels]
        # One product for both axes.
        torch.mm(self._of_kernels, kernel.flatten(0, 1).T, out=transformed.view(_PRODUCTS, -1))
        return transformed


class _Block(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.dense = nn.ModuleList(_DenseBlock(cast(DenseBlock, dense)) for dense in block.dense)

    def forward(self, phases: Tensor, work: _Work) -> Tensor:
        inner = phases
        for dense in self.dense:
            inner = dense(inner, work)
        return torch.add(phases, inner, alpha=RESIDUAL_SCALE)


class _DenseBlock(nn.Module):
    """Convolutions, each of which sees the outputs of all before it."""

    def __init__(self, dense: DenseBlock) -> None:
        super().__init__()
        for place, convolution in enumerate((*dense.convolutions, dense.fused)):
            convolution = cast(nn.Conv2d, convolution)
            self.register_buffer(f"kernel_{place}", convolution.weight.flatten(2))
            self.register_buffer(f"bias_{place}", convolution.bias)
        self._places = range(len(dense.convolutions) + 1)

    def forward(self, phases: Tensor, work: _Work) -> Tensor:
        work.transform(phases, at=0)
        *convolutions, fused = (
            (self.get_buffer(f"kernel_{place}"), self.get_buffer(f"bias_{place}")) for place in self._places
        )
        for kernel, bias in convolutions:
            work.transform(F.leaky_relu_(work.convolved(kernel, bias), SLOPE), at=kernel.shape[1])
        return torch.add(phases, work.convolved(*fused), alpha=RESIDUAL_SCALE)


def _see(phases: Tensor, seen: Tensor) -> None:
    """Lay out what each tile sees, (6, 6, C, B, rows, columns): its own phases, and around them its neighbours'.

    What a tile at the edge of the picture sees beyond it is left as it is.
    """
    inner, last = slice(1, -1), slice(None, -1)
    later = slice(1, None)
    moves = ((0, _TILE - 1, later, last), (_SEEN - 1, 0, last, later))
    seen[inner, inner] = phases
    for place, phase, to, source in moves:
        seen[place, inner, :, :, to] = phases[phase, :, :, :, source]
        seen[inner, place, ..., to] = phases[:, phase, ..., source]
        for place_across, phase_across, to_across, source_across in moves:
            neighbour = phases[phase, phase_across]
            seen[place, place_across, :, :, to, to_across] = neighbour[:, :, source, source_across]
