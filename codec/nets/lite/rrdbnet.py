"""The network of lite's restorer `gan`: residual-in-residual dense blocks on a quarter of the picture. Knows no files.

The architecture is RRDBNet of ESRGAN (Wang et al., arXiv 1809.00219, section 3.1) as Real-ESRGAN x4plus has it.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

REDUCTION = 4
"""Pixels along the edge of the square that one position of the trunk stands for."""

BYTES_PER_PX = 1500
"""Of memory for each pixel that the network looks at in float32; 1,180 were measured, and a quarter is added."""

_FEATURES, _GROWTH = 64, 32
RESIDUAL_SCALE = 0.2
"""By which every residual is multiplied, because so deep a trunk would not be stable without."""

SLOPE = 0.2
"""Of the leaky rectifiers below zero."""


class RRDBNet(nn.Module):
    """Takes a coarse picture at its full size and gives a picture of that size, both (B, 3, H, W) in [0, 1] and with
    sides that are multiples of 4; values may leave [0, 1] a little.

    The trunk works at a quarter of the size: the first convolution sees each square of 4 x 4 pixels as 48 channels.
    Two nearest enlargements, each with a convolution behind it, lead back, and beside each enters what the coarse
    picture has at that size. Two convolutions at full size end the network, so that no layer can draw its own grid.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first = _conv(3 * REDUCTION**2, _FEATURES)
        self.blocks = nn.Sequential(*(Block() for _ in range(blocks)))
        self.trunk = _conv(_FEATURES, _FEATURES)
        self.enlarged = nn.ModuleList(_conv(_FEATURES, _FEATURES) for _ in range(2))
        self.beside = nn.ModuleList(_conv(3, _FEATURES) for _ in range(2))
        self.full_size = _conv(_FEATURES, _FEATURES)
        self.last = _conv(_FEATURES, 3)

    @classmethod
    def filled(cls, tensors: Mapping[str, Tensor]) -> "RRDBNet":
        """The network with these parameters, all of them and no others, as many blocks as they have; ready for use.

        Raises RuntimeError for other names and shapes than such a network has.
        """
        blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
        with torch.device("meta"):
            network = cls(len(blocks))
        network.load_state_dict(tensors, strict=True, assign=True)
        return network.eval().requires_grad_(False)

    def forward(self, coarse: Tensor) -> Tensor:
        """The restored picture, float32 unless all of the network is of another type."""
        coarse = coarse.to(self.first.weight.dtype)
        squares = F.pixel_unshuffle(coarse, REDUCTION)
        first = self.first(squares.contiguous(memory_format=torch.channels_last))
        features = first + self.trunk(self.blocks(first))
        sizes = (F.avg_pool2d(coarse, REDUCTION // 2), coarse)
        for convolution, beside, picture in zip(self.enlarged, self.beside, sizes, strict=True):
            enlarged = F.interpolate(features, scale_factor=2, mode="nearest")
            features = _rectified(convolution(enlarged) + beside(picture.contiguous(memory_format=torch.channels_last)))
        # In bfloat16 a bright sample's neighbours are a whole step of 8 bits away.
        restored: Tensor = self.last(_rectified(self.full_size(features)).to(self.last.weight.dtype))
        return restored


class Block(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock() for _ in range(3)))

    def forward(self, features: Tensor) -> Tensor:
        return torch.add(features, self.dense(features), alpha=RESIDUAL_SCALE)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_conv(_FEATURES + _GROWTH * place, _GROWTH) for place in range(4))
        self.fused = _conv(_FEATURES + 4 * _GROWTH, _FEATURES)

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for convolution in self.convolutions:
            seen = torch.cat((seen, _rectified(convolution(seen))), 1)
        return torch.add(features, self.fused(seen), alpha=RESIDUAL_SCALE)


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        # Hundreds of draws for a network that is filled from a file would be for nothing.
        if not self.weight.is_meta:
            super().reset_parameters()


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return _Conv2d(channels_in, channels_out, 3, padding=1)


def _rectified(values: Tensor) -> Tensor:
    return F.leaky_relu(values, SLOPE, inplace=True)
