"""What the lite restorer is punished for. Knows no network of its own but that of sqz-dist, and no data."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codec.metrics.sqz import SqzDistance
from codec.nets.lite.config import LATENT_PX

_ERROR_WEIGHT = 15.0
"""Of the masked squared error beside sqz-dist: as much as it is in flat areas, a twentieth of it in lively ones."""

_PATTERN_WEIGHT, _WORDS_WEIGHT = 300.0, 0.02
"""Both parts come to about a hundredth of sqz-dist, so that they steer and do not rule."""

_FLAT = 5e-4
"""Variance of an original's luma, samples in [0, 1], at which an error counts half. Texture hides errors, and there the
network shall be free to paint; a regular residue in a plain sky is seen at once, though sqz-dist does not mind it."""

_NEAR_PX = 9
"""Edge of the surroundings in which the variance is taken."""

_PATTERN_PX, _PATTERN_REPEATS = 2 * LATENT_PX, 5
"""A pattern is what comes again every so many pixels, and so often: a period of the latents and of the level below."""

_BANDS = 2
"""Octaves of detail of which a text shall tell how much there is."""

_DETAIL_MEAN, _DETAIL_DEVIATION = (-9.0, -7.5), 2.0
"""Of the logarithm of a band's variance in training windows, so that what a text shall say is about a unit normal."""

_NOTHING = 1e-6


@dataclass(frozen=True)
class Loss:
    """The parts of a batch's loss, as scalars."""

    perceived: Tensor
    error: Tensor
    pattern: Tensor
    words: Tensor

    def weighted(self) -> Tensor:
        """What is to be minimised."""
        fidelity = _ERROR_WEIGHT * self.error + _PATTERN_WEIGHT * self.pattern
        return self.perceived + fidelity + _WORDS_WEIGHT * self.words


class RestorerLoss(nn.Module):
    """sqz-dist, the squared error where the eye sees it, painted patterns, and how badly texts tell the detail."""

    def __init__(self, sqz: Path) -> None:
        """`sqz`: the weights of sqz-dist."""
        super().__init__()
        self._distance = SqzDistance(sqz)
        # Most of its time on a CPU are elementwise operations, which a compiler fuses.
        self._distance.compile()

    def forward(self, painted: Tensor, coarse: Tensor, original: Tensor, vectors: Tensor, regions: Tensor) -> Loss:
        """`painted`, `coarse` and `original`: (B, 3, H, W) in [0, 1]; `vectors`: (B, R, T, C) of R texts; `regions`:
        (B, R, h, w), what each text holds at each position."""
        return Loss(
            self._distance(painted, original).mean(),
            error_where_seen(painted, original),
            painted_pattern(painted, coarse),
            untold_detail(vectors.float(), original, regions),
        )


def error_where_seen(painted: Tensor, original: Tensor) -> Tensor:
    """Mean squared error of (B, 3, H, W) in [0, 1], less where the original's own texture hides it."""
    hidden = _FLAT / (_FLAT + _variance(_luma(original)))
    return (hidden * (painted - original).square()).mean()


def painted_pattern(painted: Tensor, coarse: Tensor) -> Tensor:
    """How much of the change, (B, 3, H, W), repeats itself on the grid of the latents.

    To sqz-dist a regular weave is as good as any texture, and a network that sees pictures as latents finds it first;
    people see through it. Texture that does not keep step with the grid has a mean of nearly 0 over the repeats.
    """
    phases = F.pixel_unshuffle(painted - coarse, _PATTERN_PX)
    repeated = F.avg_pool2d(phases, _PATTERN_REPEATS, 1).unflatten(1, (3, _PATTERN_PX**2))
    patterns: Tensor = (repeated - repeated.mean(2, keepdim=True)).square().mean()
    return patterns


def untold_detail(vectors: Tensor, original: Tensor, regions: Tensor) -> Tensor:
    """How far the first values of each text's mean vector are from how much detail its region has, in each band.

    The restorer's own loss hardly tells a text encoder what texts are for: their effect on a picture is small next to
    the coarse picture's. This says it outright, and needs no weights that would be thrown away afterwards. Shapes as in
    `RestorerLoss.forward`; R texts share the positions of `regions`, and those without a region do not count.
    """
    shares = F.adaptive_avg_pool2d(_bands(_luma(original)), (regions.shape[-2], regions.shape[-1]))
    held = regions.sum((-2, -1))
    amounts = torch.einsum("brhw,bkhw->brk", regions, shares) / (held[..., None] + _NOTHING)
    goal = ((amounts + _NOTHING).log() - amounts.new_tensor(_DETAIL_MEAN)) / _DETAIL_DEVIATION
    told = vectors.mean(2)[..., :_BANDS]
    return ((told - goal).square().mean(-1) * held).sum() / held.sum()


def _luma(pictures: Tensor) -> Tensor:
    return pictures.mean(1, keepdim=True)


def _variance(luma: Tensor) -> Tensor:
    """(B, 1, H, W): the variance around each pixel."""

    def near(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, _NEAR_PX, 1, _NEAR_PX // 2, count_include_pad=False)

    return (near(luma.square()) - near(luma).square()).clamp(min=0)


def _bands(luma: Tensor) -> Tensor:
    """(B, 2, H, W): the squares of the finest octaves' samples."""
    bands, rest = [], luma
    for _ in range(_BANDS):
        coarser = F.avg_pool2d(rest, 2)
        detail = (rest - F.interpolate(coarser, scale_factor=2)).square()
        bands.append(F.interpolate(detail, size=luma.shape[-2:]))
        rest = coarser
    return torch.cat(bands, 1)
