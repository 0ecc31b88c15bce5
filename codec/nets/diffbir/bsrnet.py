"""BSRNet as the first stage of DiffBIR v2: enlarges a picture fourfold and cleans it. Loads nothing.

RRDBNet of ESRGAN (Wang et al., arXiv 1809.00219) with BSRGAN's training (Zhang et al., arXiv 2103.14006), in the form
of `BSRNet.pth`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.diffbir.config import BSRNetConfig
from codec.nets.loading.key_rules import move, under

ENLARGEMENT = 4
"""Pixels along an edge of what comes out for one of what the trunk sees."""

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2


class BSRNet(nn.Module):
    """Pictures in, pictures of the same size out: the network sees a quarter of each side, as DiffBIR v2 gives it a
    picture before it is enlarged."""

    multiple_px = ENLARGEMENT

    def __init__(self, config: BSRNetConfig) -> None:
        super().__init__()
        width = config.width
        self.conv_first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, config.growth) for _ in range(config.blocks))
        self.conv_trunk = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] to the same shape, about the same range; H and W multiples of `multiple_px`."""
        size = picture.shape[2] // ENLARGEMENT, picture.shape[3] // ENLARGEMENT
        return self.enlarged(F.interpolate(picture, size=size, mode="bicubic", antialias=True).clamp(0, 1))

    def enlarged(self, small: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) in [0, 1] to (B, 3, 4 h, 4 w): the network by itself, as published."""
        first = self.conv_first(small)
        hidden = first
        for block in self.blocks:
            hidden = block(hidden)
        hidden = first + self.conv_trunk(hidden)
        for conv in self.conv_up:
            hidden = F.leaky_relu(conv(F.interpolate(hidden, scale_factor=2, mode="nearest")), _SLOPE)
        return self.conv_last(F.leaky_relu(self.conv_hr(hidden), _SLOPE))


class _Block(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(_DenseBlock(width, growth) for _ in range(3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = features
        for dense in self.dense:
            hidden = dense(hidden)
        return hidden * _RESIDUAL_SCALE + features


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = (growth,) * 4 + (width,)
        self.convs = nn.ModuleList(
            nn.Conv2d(width + place * growth, channels, 3, padding=1) for place, channels in enumerate(outputs)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        seen = features
        for conv in list(self.convs)[:-1]:
            seen = torch.cat((seen, F.leaky_relu(conv(seen), _SLOPE)), dim=1)
        last: torch.Tensor = self.convs[-1](seen)
        return last * _RESIDUAL_SCALE + features


_BLOCK = tuple(
    move(f"RDB{dense + 1}.conv{conv + 1}.{{p}}", f"dense.{dense}.convs.{conv}.{{p}}")
    for dense in range(3)
    for conv in range(5)
)

BSRNET_RULES = (
    move("conv_first.{p}", "conv_first.{p}"),
    *under("RRDB_trunk.{#i}.", "blocks.{i}.", _BLOCK),
    move("trunk_conv.{p}", "conv_trunk.{p}"),
    move("upconv1.{p}", "conv_up.0.{p}"),
    move("upconv2.{p}", "conv_up.1.{p}"),
    move("HRconv.{p}", "conv_hr.{p}"),
    move("conv_last.{p}", "conv_last.{p}"),
)
"""The keys of `BSRNet.pth`."""
