"""The convolutions of ImageNet's AlexNet and VGG16 that LPIPS and DISTS look through. No classifiers, no distances."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from codec.errors import FeatureUnavailable


@dataclass(frozen=True)
class Trunk:
    """A network's convolutions: channels, edge, stride and padding of each, where it pools, and which are tapped."""

    name: str
    channels: tuple[int, ...]
    edges: tuple[int, ...]
    strides: tuple[int, ...]
    paddings: tuple[int, ...]
    pool_before: frozenset[int]
    tap_after: tuple[int, ...]
    min_side_px: int

    @property
    def tap_channels(self) -> tuple[int, ...]:
        """Channels of each tap."""
        return tuple(self.channels[layer] for layer in self.tap_after)


ALEXNET = Trunk(
    name="alex",
    channels=(64, 192, 384, 256, 256),
    edges=(11, 5, 3, 3, 3),
    strides=(4, 1, 1, 1, 1),
    paddings=(2, 2, 1, 1, 1),
    pool_before=frozenset({1, 2}),
    tap_after=(0, 1, 2, 3, 4),
    min_side_px=31,
)
"""Krizhevsky, "One weird trick" (arXiv 1404.5997), as torchvision has it."""

VGG16 = Trunk(
    name="vgg",
    channels=(64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
    edges=(3,) * 13,
    strides=(1,) * 13,
    paddings=(1,) * 13,
    pool_before=frozenset({2, 4, 7, 10}),
    tap_after=(1, 3, 6, 9, 12),
    min_side_px=16,
)
"""Simonyan and Zisserman, arXiv 1409.1556, configuration D."""


class FeatureTrunk(nn.Module):
    """A trunk with given weights and a pooling of the caller's choice; without trainable parameters, differentiable."""

    def __init__(
        self,
        trunk: Trunk,
        arrays: Mapping[str, npt.NDArray[np.float32]],
        pool: Callable[[Tensor], Tensor],
        *,
        mean: tuple[float, float, float],
        deviation: tuple[float, float, float],
    ) -> None:
        """Pictures in [0, 1] are normalised by `mean` and `deviation`. Raises FeatureUnavailable when arrays are
        missing or have other shapes."""
        super().__init__()
        self.trunk, self._pool = trunk, pool
        self._convs = nn.ModuleList(_convolutions(trunk, arrays))
        self._mean: Tensor
        self._deviation: Tensor
        self.register_buffer("_mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("_deviation", torch.tensor(deviation).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()
        self.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """The taps of (B, 3, H, W) float32 RGB in [0, 1], each (B, C, h, w), not normalised.

        Raises ValueError below the trunk's least side.
        """
        if min(pictures.shape[-2:]) < self.trunk.min_side_px:
            raise ValueError(f"pictures need {self.trunk.min_side_px} pixels a side; got {tuple(pictures.shape)}")
        values = (pictures.contiguous(memory_format=torch.channels_last) - self._mean) / self._deviation
        taps = []
        for layer, conv in enumerate(self._convs):
            if layer in self.trunk.pool_before:
                values = self._pool(values)
            values = F.relu(conv(values))
            if layer in self.trunk.tap_after:
                taps.append(values)
        return taps


def _convolutions(trunk: Trunk, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Iterator[nn.Conv2d]:
    channels_in = 3
    for layer, channels in enumerate(trunk.channels):
        edge = trunk.edges[layer]
        name = f"{trunk.name}.conv{layer}"
        weight = checked_array(arrays, f"{name}.weight", (channels, channels_in, edge, edge))
        bias = checked_array(arrays, f"{name}.bias", (channels,))
        conv = nn.Conv2d(
            channels_in, channels, edge, stride=trunk.strides[layer], padding=trunk.paddings[layer], device="meta"
        )
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        yield conv
        channels_in = channels


def checked_array(arrays: Mapping[str, npt.NDArray[np.float32]], name: str, shape: tuple[int, ...]) -> Tensor:
    """A copy of an array as a tensor. Raises FeatureUnavailable when it is missing or has another shape."""
    if name not in arrays:
        raise FeatureUnavailable(f"The weights of LPIPS and DISTS lack {name}; use a complete set of them.")
    if arrays[name].shape != shape:
        raise FeatureUnavailable(f"{name} has the shape {arrays[name].shape}, not {shape}; use unchanged weights.")
    return torch.from_numpy(arrays[name].astype(np.float32))
