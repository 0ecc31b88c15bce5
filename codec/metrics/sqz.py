"""sqz-dist: a distance of deep features. It is like LPIPS but is not LPIPS, and never stands beside its figures.

The features are SqueezeNet 1.1 of the original Caffe training (Iandola et al., arXiv 1602.07360), the weights of the
layers are LPIPS's heads for SqueezeNet (Zhang et al., arXiv 1801.03924), which were fitted to another training of that
network. The weights are not part of this project: without their file there is no sqz-dist.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

WEIGHTS_VARIABLE = "MISC_SQZ_WEIGHTS"
"""Names the .npz file of the weights; without it sqz-dist is left out."""

MIN_SIDE_PX = 17
"""Below this the last layer has no position left."""

_MEANS_BGR = (103.939, 116.779, 123.68)
"""Means of ImageNet's 8-bit values, in the order of channels that Caffe's reader gives."""

_FIRE_WIDTHS = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Channels that each fire module squeezes to; it expands them to four times as many, twice."""

_POOL_BEFORE = frozenset({2, 4, 6})
_TAP_AFTER = frozenset({3, 5, 6, 7, 8, 9})
_TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
_NORM_FLOOR = 1e-10


def find_weights() -> Path | None:
    """The file that MISC_SQZ_WEIGHTS names, None where it names none or the file is not there."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    path = Path(named) if named else None
    return path if path is not None and path.is_file() else None


class SqzDistance(nn.Module):
    """sqz-dist as a module without trainable parameters, differentiable in both pictures.

    `weights` is the .npz file with the arrays `NAME/kernel` (height, width, in, out), `NAME/bias` and
    `lpips_v0.1_squeeze/linN`. Raises KeyError or ValueError when an array is missing or has another shape, and for
    another file whatever NumPy does.
    """

    _means: Tensor

    def __init__(self, weights: Path | str) -> None:
        super().__init__()
        with np.load(weights, allow_pickle=False) as arrays:
            self._conv1 = _conv(arrays, "conv1", 3, 64, edge=3, stride=2, padding=0)
            self._fires = nn.ModuleDict()
            channels = 64
            for number, width in _FIRE_WIDTHS.items():
                self._fires[str(number)] = _Fire(arrays, f"fire{number}", channels, width)
                channels = 8 * width
            for tap in range(len(_TAP_CHANNELS)):
                head = arrays[f"lpips_v0.1_squeeze/lin{tap}"]
                if head.shape != (_TAP_CHANNELS[tap],):
                    raise ValueError(f"the head {tap} has the shape {head.shape}, which does not fit sqz-dist")
                self.register_buffer(f"_head{tap}", torch.from_numpy(head.astype(np.float32)).view(1, -1, 1, 1))
        self.register_buffer("_means", torch.tensor(_MEANS_BGR).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()
        # On CPUs this order of memory takes a third of the time.
        self.to(memory_format=torch.channels_last)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The seven taps of (B, 3, H, W) float32 RGB in [0, 1], each (B, C, h, w) of unit vectors at every position.

        Values are not rounded to 8 bits, so that gradients pass. Raises ValueError below 17 pixels a side.
        """
        if min(pictures.shape[-2:]) < MIN_SIDE_PX:
            raise ValueError(f"sqz-dist is defined from {MIN_SIDE_PX} pixels a side on; got {tuple(pictures.shape)}")
        values = pictures.contiguous(memory_format=torch.channels_last).flip(1) * 255.0 - self._means
        values = F.relu(self._conv1(values))
        taps = [_unit(values)]
        for number in _FIRE_WIDTHS:
            if number in _POOL_BEFORE:
                values = F.max_pool2d(values, 3, stride=2, ceil_mode=True)
            values = self._fires[str(number)](values)
            if number in _TAP_AFTER:
                taps.append(_unit(values))
        return taps

    def between(self, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """(B, 7): what each tap adds to the distance of two pictures whose features are known."""
        parts = []
        for tap, (a, b) in enumerate(zip(left, right, strict=True)):
            difference = a - b
            head = getattr(self, f"_head{tap}")
            parts.append((difference * difference * head).sum(1).mean((-2, -1)))
        return torch.stack(parts, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(B,) distances of two batches (B, 3, H, W) float32 RGB in [0, 1] of one size; 0 for equal pictures.

        Symmetric and not bounded by 1. Raises ValueError for different sizes and below 17 pixels a side.
        """
        if left.shape != right.shape:
            raise ValueError(f"both pictures must have one size; got {tuple(left.shape)} and {tuple(right.shape)}")
        return self.between(self.features(left), self.features(right)).sum(1)


class _Fire(nn.Module):
    """Squeeze to few channels, expand them by 1x1 and by 3x3 kernels, in this order of channels."""

    def __init__(self, arrays: "np.lib.npyio.NpzFile", name: str, channels: int, width: int) -> None:
        super().__init__()
        self._squeeze = _conv(arrays, f"{name}/squeeze1x1", channels, width, edge=1)
        self._expand1 = _conv(arrays, f"{name}/expand1x1", width, 4 * width, edge=1)
        self._expand3 = _conv(arrays, f"{name}/expand3x3", width, 4 * width, edge=3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        squeezed = F.relu(self._squeeze(values))
        return F.relu(torch.cat((self._expand1(squeezed), self._expand3(squeezed)), 1))


def _conv(
    arrays: "np.lib.npyio.NpzFile",
    name: str,
    channels_in: int,
    channels_out: int,
    *,
    edge: int,
    stride: int = 1,
    padding: int = 0,
) -> nn.Conv2d:
    kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
    if kernel.shape != (edge, edge, channels_in, channels_out) or bias.shape != (channels_out,):
        raise ValueError(f"{name} has the shapes {kernel.shape} and {bias.shape}, which do not fit sqz-dist")
    conv = nn.Conv2d(channels_in, channels_out, edge, stride=stride, padding=padding)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))))
        conv.bias.copy_(torch.from_numpy(bias))
    return conv


def _unit(values: Tensor) -> Tensor:
    # In half precision, which a caller may train in, the floor would vanish.
    values = values.float()
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values / (norms + _NORM_FLOOR)
