"""U²-Netp: how much each pixel belongs to what stands out in a picture. It does not know what that is."""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

SIDE_PX = 320
"""The side of the square that the network was trained with."""

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_WIDTH, _INNER = 64, 16
_DEPTHS = (7, 6, 5, 4)
"""Of the pooled U-blocks; the two after them have dilated convolutions instead of pooling."""


class _ConvReLU(nn.Conv2d):
    """3x3, dilated, with padding that keeps the size; the batch norm is folded in."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=dilation, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = F.relu(super().forward(x))
        return out


class UBlock(nn.Module):
    """A small U-Net with a residual path around it: `depth` convolutions down, one less up.

    Each level but the last is half the size of the one above it, unless the block `is_dilated`.
    """

    def __init__(self, depth: int, inputs: int, *, is_dilated: bool = False) -> None:
        super().__init__()
        dilations = [2**level for level in range(depth)] if is_dilated else [1] * (depth - 1) + [2]
        self.is_dilated = is_dilated
        self.entry = _ConvReLU(inputs, _WIDTH)
        self.down = nn.ModuleList(
            _ConvReLU(_WIDTH if level == 0 else _INNER, _INNER, dilation) for level, dilation in enumerate(dilations)
        )
        self.up = nn.ModuleList(
            _ConvReLU(2 * _INNER, _WIDTH if level == 0 else _INNER, dilations[level] if is_dilated else 1)
            for level in reversed(range(depth - 1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, 64, H, W)."""
        start = x = self.entry(x)
        skips: list[torch.Tensor] = []
        for level, conv in enumerate(self.down):
            # The last two levels share a size.
            if 0 < level < len(self.down) - 1 and not self.is_dilated:
                x = _halved(x)
            x = conv(x)
            skips.append(x)
        x = skips.pop()
        for conv in self.up:
            skip = skips.pop()
            x = conv(torch.cat([_sized(x, skip), skip], dim=1))
        result: torch.Tensor = x + start
        return result


class U2NetP(nn.Module):
    """Qin et al., U²-Net (2020), the small form. Pictures are (B, 3, H, W) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        depths = (*_DEPTHS, 4, 4)
        self.down = nn.ModuleList(
            UBlock(depth, 3 if level == 0 else _WIDTH, is_dilated=level >= len(_DEPTHS))
            for level, depth in enumerate(depths)
        )
        self.up = nn.ModuleList(
            UBlock(depths[level], 2 * _WIDTH, is_dilated=level >= len(_DEPTHS)) for level in reversed(range(5))
        )
        self.sides = nn.ModuleList(nn.Conv2d(_WIDTH, 1, 3, padding=1) for _ in depths)
        self.fuse = nn.Conv2d(len(depths), 1, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, H, W) in [0, 1]."""
        mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
        x = (pictures - mean) / deviation
        levels = [x := self.down[0](x)]
        for _, block in pairwise(self.down):
            levels.append(x := block(_halved(x)))
        outputs = [levels.pop()]
        for block in self.up:
            level = levels.pop()
            outputs.insert(0, block(torch.cat([_sized(outputs[0], level), level], dim=1)))
        sides = [_sized(side(x), outputs[0]) for side, x in zip(self.sides, outputs, strict=True)]
        mask: torch.Tensor = self.fuse(torch.cat(sides, dim=1)).sigmoid()[:, 0]
        return mask


def _halved(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2, ceil_mode=True)


def _sized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x if x.shape[2:] == like.shape[2:] else F.interpolate(x, size=like.shape[2:], mode="bilinear")
