"""Cuts a small picture into regions and picks the most distinct ones. It has no words for them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, minimum_filter, uniform_filter
from skimage.color import rgb2lab
from skimage.segmentation import slic

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]

_SUPERPIXELS = 220
_COMPACTNESS = 0.06

# Regions of a photo that a person tells apart differ by more than this in Lab (a just visible difference is 2.3).
_SAME_THING = 13.0
_MOST_REGIONS = 10
_SMALLEST_SHARE = 0.008

# Roughness counts as a colour axis: grass and a smooth green wall are two things.
_ROUGHNESS_WEIGHT = 1.2


@dataclass(frozen=True)
class Cut:
    """A small picture and its regions.

    `lab`: (H, W, 3). `roughness`: (H, W), local standard deviation of lightness. `labels`: (H, W), each pixel's
    region. `chosen`: the most distinct regions, most distinct first.
    """

    lab: Floats
    roughness: Floats
    labels: Labels
    chosen: tuple[int, ...]


def cut_regions(pixels: npt.NDArray[np.uint8], count: int) -> Cut:
    """Segment pixels (H, W, 3), both sides at least 8, and choose at most `count` regions. Deterministic."""
    lab = rgb2lab(pixels).astype(np.float32)
    lightness = lab[..., 0]
    variance = uniform_filter(lightness**2, 5) - uniform_filter(lightness, 5) ** 2
    roughness = np.sqrt(np.maximum(variance, 0))
    fine = _superpixels(lab)
    # The minimum leaves texture, which is rough all over, and drops single outlines, which belong to no region.
    texture = gaussian_filter(minimum_filter(roughness, 5), 2)
    features = np.dstack([lab, texture * _ROUGHNESS_WEIGHT])
    labels = _merge(fine, features)
    return Cut(lab, roughness, labels, _choose(labels, features, count))


def _superpixels(lab: Floats) -> Labels:
    height, width = lab.shape[:2]
    wanted = max(4, min(_SUPERPIXELS, height * width // 16))
    soft = gaussian_filter(lab, (1, 1, 0))
    found = slic(soft, n_segments=wanted, compactness=_COMPACTNESS, convert2lab=False, start_label=0, max_num_iter=6)
    labels: Labels = np.unique(found, return_inverse=True)[1].reshape(height, width)
    return labels


def _merge(labels: Labels, features: Floats) -> Labels:
    """Merge neighbours, the pair that loses least (Ward's criterion) first, until what is left is distinct."""
    count = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count).astype(np.float64)
    # A superpixel on an outline has some of both sides; its median belongs to one, its mean would be a third thing.
    values = features.reshape(-1, features.shape[-1])[np.argsort(flat, kind="stable")]
    pieces = np.split(values, np.cumsum(sizes[:-1]).astype(int))
    means = np.stack([np.median(piece, axis=0) for piece in pieces]).astype(np.float64)
    touching = np.zeros((count, count), bool)
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        touching[one, other] = touching[other, one] = True
    np.fill_diagonal(touching, False)
    owner = np.arange(count)
    distance = np.sqrt(((means[:, None] - means[None]) ** 2).sum(axis=2))
    alive = count
    while alive > 1:
        harmonic = sizes[:, None] * sizes[None] / (sizes[:, None] + sizes[None])
        loss = np.where(touching, harmonic * distance**2, np.inf)
        keep, gone = divmod(int(loss.argmin()), count)
        if not np.isfinite(loss[keep, gone]):
            break
        if alive <= _MOST_REGIONS:
            # Few are left: from now on only those go that look alike or are too small to speak of.
            small = sizes < _SMALLEST_SHARE * labels.size
            alike = touching & ((distance < _SAME_THING) | small[:, None] | small[None])
            if not alike.any():
                break
            keep, gone = divmod(int(np.where(alike, distance, np.inf).argmin()), count)
        total = sizes[keep] + sizes[gone]
        means[keep] = (sizes[keep] * means[keep] + sizes[gone] * means[gone]) / total
        sizes[keep] = total
        touching[keep] |= touching[gone]
        touching[:, keep] |= touching[:, gone]
        touching[gone] = touching[:, gone] = False
        touching[keep, keep] = False
        distance[keep] = distance[:, keep] = np.sqrt(((means - means[keep]) ** 2).sum(axis=1))
        owner[owner == gone] = keep
        alive -= 1
    merged: Labels = np.unique(owner[labels], return_inverse=True)[1].reshape(labels.shape)
    return merged


def _choose(labels: Labels, features: Floats, count: int) -> tuple[int, ...]:
    """The regions that stand out most by contrast, size and compactness, none much like one chosen before."""
    height, width = labels.shape
    regions = int(labels.max()) + 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=regions)
    means = np.stack([np.bincount(flat, plane.ravel(), regions) / sizes for plane in np.moveaxis(features, -1, 0)], 1)
    rows, columns = np.divmod(np.arange(flat.size), width)
    y = np.bincount(flat, rows, regions) / sizes / height
    x = np.bincount(flat, columns, regions) / sizes / width
    variance = np.bincount(flat, (rows / height - y[flat]) ** 2 + (columns / width - x[flat]) ** 2, regions) / sizes
    share = sizes / flat.size
    # A disc of the region's share would have this variance; a region that sprawls has more.
    compactness = np.minimum(1, share / (2 * np.pi) / np.maximum(variance, 1e-9)) ** 0.5
    distance = np.sqrt(((means[:, None] - means[None]) ** 2).sum(axis=2))
    nearness = np.exp(-((y[:, None] - y[None]) ** 2 + (x[:, None] - x[None]) ** 2) / 0.3)
    weights = nearness * share[None]
    np.fill_diagonal(weights, 0)
    contrast = (weights * distance).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    score = (contrast + 1e-6) * share**0.4 * compactness**0.7
    chosen: list[int] = []
    while len(chosen) < min(count, regions):
        variety = np.minimum(1, distance[:, chosen].min(axis=1) / 40) if chosen else np.ones(regions)
        merit = np.where(np.isin(np.arange(regions), chosen), -1, score * variety)
        chosen.append(int(merit.argmax()))
    return tuple(chosen)
