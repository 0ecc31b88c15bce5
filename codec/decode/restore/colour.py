"""Gives a generated picture the colours of the one it was generated from. Works on tensors; knows no restorer."""

import torch
import torch.nn.functional as F  # noqa: N812

_LEVELS = 5
"""Wavelet levels, as published: what is coarser than about 60 px is colour, the rest is detail."""


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
