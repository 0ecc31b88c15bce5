"""DISTS: structure and texture similarity over VGG16 (Ding et al., arXiv 2004.07728), for reports and as a loss.

Pictures are compared at their own size; the published script reduces them to 256 pixels first where it is asked to.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from codec.metrics.image_features import VGG16, FeatureTrunk, checked_array
from codec.metrics.perceptual_weights import Arrays

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CONSTANT = 1e-6
"""Keeps the quotients of both terms defined where a channel is flat."""

_ROOT_FLOOR = 1e-12

Statistics = list[tuple[Tensor, Tensor, Tensor]]
"""Of each tap: its values (B, C, positions), their means and variances (B, C)."""


class DISTS(nn.Module):
    """DISTS as a module without trainable parameters, differentiable in both pictures."""

    min_side_px = VGG16.min_side_px

    def __init__(self, arrays: Arrays) -> None:
        """`arrays` as `load_perceptual_arrays` gives them. Raises FeatureUnavailable when some do not fit."""
        super().__init__()
        self._trunk = FeatureTrunk(VGG16, arrays, _L2Pooling(), mean=_MEAN, deviation=_DEVIATION)
        # The picture itself is the first tap.
        self._channels = (3, *VGG16.tap_channels)
        shape = (sum(self._channels),)
        alpha, beta = checked_array(arrays, "dists.alpha", shape), checked_array(arrays, "dists.beta", shape)
        total = alpha.sum() + beta.sum()
        self._alpha: Tensor
        self._beta: Tensor
        self.register_buffer("_alpha", alpha / total)
        self.register_buffer("_beta", beta / total)

    def features(self, pictures: Tensor) -> Statistics:
        """What is compared of (B, 3, H, W) float32 RGB in [0, 1]. Raises ValueError below 16 pixels a side."""
        taps = [values.flatten(2) for values in (pictures, *self._trunk(pictures))]
        return [(values, values.mean(2), values.var(2, correction=0)) for values in taps]

    def between(self, left: Statistics, right: Statistics) -> Tensor:
        """(B,) distances of pictures whose features are known."""
        textures, structures = [], []
        for (a, mean_a, variance_a), (b, mean_b, variance_b) in zip(left, right, strict=True):
            covariance = (a * b).mean(2) - mean_a * mean_b
            squares = mean_a.square() + mean_b.square()
            textures.append((2 * mean_a * mean_b + _CONSTANT) / (squares + _CONSTANT))
            structures.append((2 * covariance + _CONSTANT) / (variance_a + variance_b + _CONSTANT))
        similarity = torch.cat(textures, 1) * self._alpha + torch.cat(structures, 1) * self._beta
        return 1 - similarity.sum(1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(B,) distances of two batches (B, 3, H, W) float32 RGB in [0, 1] of one size; 0 for equal pictures.

        Symmetric. Raises ValueError for different sizes and below 16 pixels a side.
        """
        if left.shape != right.shape:
            raise ValueError(f"both pictures must have one size; got {tuple(left.shape)} and {tuple(right.shape)}")
        return self.between(self.features(left), self.features(right))


class _L2Pooling(nn.Module):
    """Root of the Hann-weighted mean of squares, to half the size (Hénaff and Simoncelli, arXiv 1511.06394)."""

    def forward(self, values: Tensor) -> Tensor:
        window = values.new_tensor([0.25, 0.5, 0.25])
        kernel = (window[:, None] * window[None]).expand(values.shape[1], 1, 3, 3)
        means = F.conv2d(values.square(), kernel, stride=2, padding=1, groups=values.shape[1])
        return (means + _ROOT_FLOOR).sqrt()
