"""EfficientNet-Lite0: which of ImageNet's 1,000 classes a picture shows. Names and decisions are made elsewhere."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.tagger.blocks import SameConv2d, stages

SIDE_PX = 224
"""The side of the square that the network was trained with."""

CLASSES = 1_000

_ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Tan and Le, EfficientNet (2019), without squeeze-and-excitation, as the Lite variant is published."""


class EfficientNetLite0(nn.Module):
    """Pictures are (B, 3, H, W) in [0, 1]. The pooled logits are the mean of those at each place, since what follows
    the last convolution is linear; so `at_places` shows where a class is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 32, 3, 2)
        self.blocks = stages(32, _ROWS)
        self.head = SameConv2d(320, 1280, 1)
        self.classes = nn.Linear(1280, CLASSES)

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 1280, ceil(H / 32), ceil(W / 32))."""
        x = F.relu6(self.stem((pictures * 255 - 127) / 128))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head(x))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 1000) logits of the whole pictures."""
        out: torch.Tensor = self.classes(self.features(pictures).mean(dim=(2, 3)))
        return out

    def at_places(self, features: torch.Tensor) -> torch.Tensor:
        """(B, 1000, h, w) logits of each place of `features`."""
        return F.conv2d(features, self.classes.weight[:, :, None, None], self.classes.bias)
