"""LPIPS v0.1 over AlexNet or VGG16 (Zhang et al., arXiv 1801.03924, "lin" variant), for reports and as a loss.

Figures equal the published implementation's and may stand beside published ones.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from codec.metrics.image_features import ALEXNET, VGG16, FeatureTrunk, checked_array
from codec.metrics.perceptual_weights import Arrays

_TRUNKS = {"alex": ALEXNET, "vgg": VGG16}

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""For pictures in [0, 1]; the published -.030, -.088, -.188 and .458, .448, .450 are for pictures in [-1, 1]."""

_NORM_FLOOR = 1e-10


class LPIPS(nn.Module):
    """LPIPS as a module without trainable parameters, differentiable in both pictures."""

    def __init__(self, network: Literal["alex", "vgg"], arrays: Arrays) -> None:
        """`arrays` as `load_perceptual_arrays` gives them. Raises FeatureUnavailable when some do not fit."""
        super().__init__()
        trunk = _TRUNKS[network]
        pool = _pool_of_alexnet if network == "alex" else _pool_of_vgg
        self._trunk = FeatureTrunk(trunk, arrays, pool, mean=_MEAN, deviation=_DEVIATION)
        self.min_side_px = trunk.min_side_px
        for tap, channels in enumerate(trunk.tap_channels):
            head = checked_array(arrays, f"{network}.lin{tap}", (channels,))
            self.register_buffer(f"_head{tap}", head.view(1, -1, 1, 1))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The five taps of (B, 3, H, W) float32 RGB in [0, 1], each (B, C, h, w) of unit vectors at every position.

        Raises ValueError below `min_side_px`.
        """
        return [_unit(tap) for tap in self._trunk(pictures)]

    def between(self, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """(B,) distances of pictures whose features are known."""
        total = left[0].new_zeros(left[0].shape[0])
        for tap, (a, b) in enumerate(zip(left, right, strict=True)):
            total = total + F.conv2d((a - b).square(), getattr(self, f"_head{tap}")).mean((1, 2, 3))
        return total

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(B,) distances of two batches (B, 3, H, W) float32 RGB in [0, 1] of one size; 0 for equal pictures.

        Symmetric. Raises ValueError for different sizes and below `min_side_px`.
        """
        if left.shape != right.shape:
            raise ValueError(f"both pictures must have one size; got {tuple(left.shape)} and {tuple(right.shape)}")
        return self.between(self.features(left), self.features(right))


def _pool_of_alexnet(values: Tensor) -> Tensor:
    return F.max_pool2d(values, 3, stride=2)


def _pool_of_vgg(values: Tensor) -> Tensor:
    return F.max_pool2d(values, 2)


def _unit(values: Tensor) -> Tensor:
    # In half precision, which a caller may train in, the floor would vanish.
    values = values.float()
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values / (norms + _NORM_FLOOR)
