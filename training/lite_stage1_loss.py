"""What stage 1 of lite is punished for, and the discriminator it is trained against. Knows no data.

LPIPS over AlexNet, sqz-dist, HaarPSI and GMSD have no part in it, because they examine what comes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codec.metrics.dists import DISTS
from codec.metrics.image_features import VGG16, FeatureTrunk
from codec.metrics.lpips import LPIPS

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for pictures in [0, 1]."""

_LOW_PX = 8
"""Edge of the boxes whose means hold colours and shapes."""

_JUDGED_TAPS = (1, 2, 3)
"""Taps of VGG16 that the discriminator sees: textures and parts of things, at 1/2, 1/4 and 1/8 of the size."""

_JUDGE_WIDTH = 64


LEAST_EDGE_PX = _BLOCK_PX = 64
"""Edge of the blocks in whose spectra patterns are looked for, and of the smallest window."""

_LUMA = (0.299, 0.587, 0.114)

_NOTHING = 1e-6


@dataclass(frozen=True)
class Weights:
    """What each part of the loss counts."""

    lpips: float = 1.5
    dists: float = 1.0
    adversarial: float = 0.05
    low: float = 1.5
    pixel: float = 0.6
    pattern: float = 0.2


class Discriminator(nn.Module):
    """Tells restored from real by the features of a frozen VGG16, position by position (as Sauer et al., arXiv
    2111.01007, project theirs): three small heads that need no more than the features that the loss has anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(VGG16.tap_channels[tap]) for tap in _JUDGED_TAPS)

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Scores (B, 1, h, w), high for real, from the unit vectors of each tap."""
        # Unit vectors of many channels have tiny components, and a head wants values of about 1.
        return [head(taps[tap] * taps[tap].shape[1] ** 0.5) for head, tap in zip(self.heads, _JUDGED_TAPS, strict=True)]


def _head(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, _JUDGE_WIDTH, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(_JUDGE_WIDTH, _JUDGE_WIDTH, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(_JUDGE_WIDTH, 1, 1),
    )


class Stage1Loss(nn.Module):
    """All parts from one look of VGG16 at each picture."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.float32]], weights: Weights) -> None:
        super().__init__()
        self.weights = weights
        self._trunk = FeatureTrunk(VGG16, arrays, _max_pool, mean=_MEAN, deviation=_DEVIATION)
        self._lpips, self._dists = LPIPS("vgg", arrays), DISTS(arrays)

    def taps(self, pictures: Tensor) -> list[Tensor]:
        """VGG16's five taps of (B, 3, H, W) in [0, 1], float32."""
        return [tap.float() for tap in self._trunk(pictures)]

    def parts(self, restored: Tensor, original: Tensor, taps: list[Tensor], real: list[Tensor]) -> dict[str, Tensor]:
        """The parts beside the adversarial one, as scalars; `taps` are the restored picture's, `real` the original's.

        The similarity of DISTS is taken over LPIPS' features, which differ from its own by the pooling.
        """
        return {
            "lpips": self._lpips.between(unit(taps), unit(real)).mean(),
            "dists": self._dists.between(_statistics(restored, taps), _statistics(original, real)).mean(),
            "low": F.l1_loss(F.avg_pool2d(restored, _LOW_PX), F.avg_pool2d(original, _LOW_PX)),
            "pixel": F.l1_loss(restored, original),
            "pattern": _patterns(restored, original),
        }

    def weighted(self, parts: Mapping[str, Tensor]) -> Tensor:
        """What is to be minimised."""
        total = torch.zeros(())
        for name, value in parts.items():
            total = total + getattr(self.weights, name) * value
        return total


def unit(taps: list[Tensor]) -> list[Tensor]:
    """Each tap's vectors divided by their lengths, as LPIPS has them."""
    return [tap / (torch.linalg.vector_norm(tap, dim=1, keepdim=True) + 1e-10) for tap in taps]


def generator_loss(scores: list[Tensor]) -> Tensor:
    """Falls as restored pictures pass for real."""
    return -torch.stack([score.mean() for score in scores]).mean()


def discriminator_loss(real: list[Tensor], restored: list[Tensor]) -> Tensor:
    """The hinge loss."""
    losses = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(real, restored, strict=True)]
    return torch.stack(losses).mean()


def _statistics(pictures: Tensor, taps: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    flat = [values.flatten(2) for values in (pictures, *taps)]
    return [(values, values.mean(2), values.var(2, correction=0)) for values in flat]


def _patterns(restored: Tensor, original: Tensor) -> Tensor:
    """How far the restored windows' spectrum stands out at the frequencies of the network's grid, over its surroundings
    and over the originals' spectrum there: the logarithm of what `codec.metrics.weave` measures, over all of them."""
    spectrum, originals = _spectrum(restored), _spectrum(original)
    peaks, ring = F.max_pool2d(spectrum, 3, 1), _ring_means(spectrum)
    allowed = torch.maximum(ring, F.max_pool2d(originals, 3, 1)[..., 3:-3, 3:-3])
    excess = F.relu((peaks[..., 3:-3, 3:-3] / allowed).log())
    step = _BLOCK_PX // 8
    places = torch.arange(step, _BLOCK_PX, step)
    zeros = torch.zeros_like(places)
    rows, columns = torch.cat((places, zeros, places, places)), torch.cat((zeros, places, places, _BLOCK_PX - places))
    return excess[0, 0, rows, columns].mean()


def _spectrum(pictures: Tensor) -> Tensor:
    """(1, 1, 72, 72): the mean squared spectrum of all blocks' luma, continued by four bins at its ends."""
    luma = (pictures * pictures.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    blocks = F.unfold(luma, _BLOCK_PX, stride=_BLOCK_PX).transpose(1, 2).reshape(-1, _BLOCK_PX, _BLOCK_PX)
    blocks = blocks - blocks.mean((1, 2), keepdim=True)
    window = torch.hann_window(_BLOCK_PX, periodic=False, device=blocks.device)
    power = torch.fft.fft2(blocks * window * window[:, None]).abs().square().mean(0) + _NOTHING
    return F.pad(power[None, None], (4, 4, 4, 4), mode="circular")


def _ring_means(spectrum: Tensor) -> Tensor:
    """The mean of the bins three and four away from each."""
    whole, inner = F.avg_pool2d(spectrum, 9, 1) * 81, F.avg_pool2d(spectrum[..., 2:-2, 2:-2], 5, 1) * 25
    return (whole - inner) / (81 - 25)


def _max_pool(values: Tensor) -> Tensor:
    return F.max_pool2d(values, 2)
