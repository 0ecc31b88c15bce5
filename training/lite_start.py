"""Where the lite coarse codec's training starts: a wavelet transform written into its convolutions.

From random weights the first hours only find a transform that images have long been coded with. Here the four layers
of the analysis begin as four levels of the 5/3 wavelet (Le Gall and Tabatabai, 1988) on luma and chroma, the synthesis
as its inverse; GDN as CompressAI starts it is nearly linear at these values. Channels beyond those of the wavelet stay
random, for whatever training makes of them.
"""

import math

import numpy as np
import torch
from compressai.models import JointAutoregressiveHierarchicalPriors
from numpy.typing import NDArray

_LOW, _HIGH = np.array([-1, 2, 6, 2, -1, 0]) / 8, np.array([0, 0, -1, 2, -1, 0]) / 2
"""Analysis at even and at odd places, taps -2 to 3 around the even one."""

_LOW_BACK, _HIGH_BACK = np.array([0, 1, 2, 1, 0, 0]) / 2, np.array([0, -1, -2, 6, -2, -1]) / 8

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

_BANDS = ((_LOW, _LOW), (_LOW, _HIGH), (_HIGH, _LOW), (_HIGH, _HIGH))
_BANDS_BACK = ((_LOW_BACK, _LOW_BACK), (_LOW_BACK, _HIGH_BACK), (_HIGH_BACK, _LOW_BACK), (_HIGH_BACK, _HIGH_BACK))
_PLANES, _FINE_PLANES = 3, 1
"""Luma and chroma down to three levels; of the second level luma alone has room."""

_LEAST_RANDOM = 0.1
"""The random weights from and to other channels are made this small, so that they do not drown the transform."""

Weights = NDArray[np.float64]


def start_as_wavelet(network: JointAutoregressiveHierarchicalPriors, step: float) -> None:
    """Write the transform into a fresh network with at least 96 channels; `step` is the width of a quantiser's step in
    8-bit levels, for all bands alike in orthonormal terms."""
    splits = [np.einsum("a,b->ab", *band)[:5, :5] for band in _BANDS]
    joins = [np.einsum("a,b->ab", *band)[:5, :5] for band in _BANDS_BACK]
    depth = 3 * 4 + 9 * 4 + 3 * 16
    gains = 255 / step * np.array([2.0**4] * 12 + [2.0**3] * 36 + [2.0**2] * 48)
    analysis, synthesis = [], []
    # Layer 1: colours, and the first level's low band; its details are finer than such rates can keep.
    analysis.append(np.einsum("pc,ij->pcij", _TO_YCC, splits[0]))
    synthesis.append(np.einsum("pc,ij->pcij", np.linalg.inv(_TO_YCC).T, joins[0]))
    # Layer 2: bands of the second level, plane by plane within a band.
    analysis.append(_bands(splits, _PLANES))
    synthesis.append(_joined(joins, _PLANES)[: _PLANES + 3 * _PLANES])
    # Layer 3: bands of the third level, and the details of the second as four phases each.
    analysis.append(_beside(_bands(splits, _PLANES), _phases(3 * _FINE_PLANES), _detail_places()))
    synthesis.append(_beside(_joined(joins, _PLANES), _phases(3 * _FINE_PLANES), _detail_places(), back=True))
    analysis.append(_beside(_bands(splits, _PLANES), _phases(9 + 12), range(_PLANES, _PLANES + 21)))
    synthesis.append(_beside(_joined(joins, _PLANES), _phases(9 + 12), range(_PLANES, _PLANES + 21), back=True))
    with torch.no_grad():
        for layer, values in zip(range(0, 7, 2), analysis, strict=True):
            _write(network.g_a[layer].weight, values)
        for layer, values in zip(range(0, 7, 2), reversed(synthesis), strict=True):
            _write(network.g_s[layer].weight, values)
        scale = torch.from_numpy(gains).float()
        network.g_a[6].weight[:depth] *= scale[:, None, None, None]
        network.g_s[0].weight[:depth] /= scale[:, None, None, None]
        for layer in range(0, 7, 2):
            network.g_a[layer].bias[:] = 0
            network.g_s[layer].bias[:] = 0
        # Grey is zero, because GDN is linear around it.
        network.g_a[0].bias[0] = -0.5
        network.g_s[6].bias[:] = 0.5
        # A fresh entropy model expects nothing but zeros, and would first unlearn the transform.
        last = network.entropy_parameters[4]
        last.weight *= _LEAST_RANDOM
        last.bias[:] = 0
        last.bias[: last.bias.numel() // 2] = 1.0
        last.bias[:_PLANES] = 8.0


def _bands(splits: list[Weights], planes: int) -> Weights:
    """(4 P, P, 5, 5): every band of every plane."""
    return np.concatenate([np.einsum("pq,ij->pqij", np.eye(planes), split) for split in splits])


def _joined(joins: list[Weights], planes: int) -> Weights:
    """(4 P, P, 5, 5) for a transposed convolution: bands in, planes out."""
    return np.concatenate([np.einsum("pq,ij->pqij", np.eye(planes), join) for join in joins])


def _phases(planes: int) -> Weights:
    """(4 P, P, 5, 5): the samples of each plane at the four places of a 2x2 block; its own inverse when transposed."""
    values = np.zeros((4 * planes, planes, 5, 5))
    for place, (down, across) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        for plane in range(planes):
            values[place * planes + plane, plane, 2 + down, 2 + across] = 1
    return values


def _detail_places() -> list[int]:
    """Which channels of the second level's bands are kept: the details of luma."""
    return [_PLANES * band for band in (1, 2, 3)]


def _beside(transform: Weights, phases: Weights, places: "range | list[int]", *, back: bool = False) -> Weights:
    """Bands of the first planes, then phases of the planes at `places`, as one layer."""
    made = len(transform) + len(phases)
    seen = max(transform.shape[1], max(places) + 1)
    values = np.zeros((made, seen, 5, 5))
    values[: len(transform), : transform.shape[1]] = transform
    for index, place in enumerate(places):
        values[len(transform) :, place] = phases[:, index]
    return values


def _write(weight: torch.Tensor, values: Weights) -> None:
    """Into the first channels of a layer, whose other weights from and to those channels become small."""
    made, seen = values.shape[:2]
    # As in a fresh network of this library: uniform with this bound.
    bound = _LEAST_RANDOM / math.sqrt(weight[0].numel())
    weight[:made].uniform_(-bound, bound)
    weight[:, :seen].uniform_(-bound, bound)
    weight[:made, :seen] += torch.from_numpy(values).float()
