"""Gives a generated picture the colours of the one it was generated from. Works on tensors; knows no restorer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from codec.options import ColourFix

_LEVELS = 5
"""Wavelet levels, as published: what is coarser than about 60 px is colour, the rest is detail."""


_LEAST_VARIANCE = 1e-5
"""Added to every variance, as published, so that a picture of one colour can be divided by its deviation."""

FixColours = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The same rows of a generated picture and of its reference to the generated ones in the colours wanted."""


def colour_fix_of(kind: ColourFix, picture: torch.Tensor, reference: torch.Tensor) -> FixColours:
    """What gives strips of `picture` the colours of `reference`; both whole, (1, 3, H, W).

    Moments are those of the whole pictures, so that strips do not differ.
    """
    if kind is ColourFix.NONE:
        return lambda strip, _: strip
    if kind is ColourFix.WAVELET:
        return fix_colours
    mean, deviation = _moments(picture)
    wanted_mean, wanted_deviation = _moments(reference)
    return lambda strip, _: (strip - mean) / deviation * wanted_deviation + wanted_mean


def _moments(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel, (1, 3, 1, 1); adaptive instance normalisation (arXiv 1703.06868)."""
    variance, mean = torch.var_mean(picture, dim=(2, 3), keepdim=True)
    return mean, (variance + _LEAST_VARIANCE).sqrt()


def fix_colours(picture: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The detail of `picture` over the colours of `reference`; both (B, 3, H, W), values may leave [0, 1].

    DiffBIR's wavelet colour fix takes the high bands of the one and the lowest band of the other. Every band is a
    difference of blurs and blurring is linear, so that is the picture plus the blurred difference of the two.
    """
    return picture + _lowest_band(reference - picture)


def _lowest_band(picture: torch.Tensor) -> torch.Tensor:
    """What is left after blurring by [1, 2, 1] / 4 in both directions, its taps 1, 2, 4, 8 and 16 px apart."""
    for level in range(_LEVELS):
        reach = 2**level
        padded = F.pad(picture, (reach,) * 4, mode="replicate")
        height, width = picture.shape[2:]
        rows = padded[:, :, :height] + 2 * padded[:, :, reach : reach + height] + padded[:, :, 2 * reach :]
        picture = (rows[..., :width] + 2 * rows[..., reach : reach + width] + rows[..., 2 * reach :]) / 16
    return picture
