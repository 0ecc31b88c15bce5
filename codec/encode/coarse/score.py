"""How close a coarse picture comes to the original: the figure that the reference mode maximises. Not for reports.

Multi-scale structural similarity (Wang, Simoncelli and Bovik, 2003) on luma. Structure is what the coarse picture
has to carry; colour costs the codecs little and follows. Pictures beyond about two megapixels are compared at a
reduced size: the index models a viewer who sees the whole picture, and its time would otherwise dominate the search.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_MAX_PIXELS = 2_000_000
_MIN_SIDE_PX = 11
"""The window's width; scales smaller than it are left out and the other weights share theirs."""

Luma = npt.NDArray[np.float32]


def luma_for_score(picture: Image.Image) -> Luma:
    """(H', W') float32 in [0, 255]: the luma that `structural_score` compares, reduced where the picture is large."""
    grey = picture.convert("L")
    factor = 1
    while grey.width * grey.height > _MAX_PIXELS * factor * factor:
        factor += 1
    return np.asarray(grey.reduce(factor) if factor > 1 else grey, dtype=np.float32)


def structural_score(original: Luma, candidate: Luma) -> float:
    """Multi-scale structural similarity of two lumas of one shape, in [0, 1]; 1 means equal."""
    similarities, weights = [], []
    for scale, weight in enumerate(_WEIGHTS):
        luminance, contrast = _similarity(original, candidate)
        is_last = scale == len(_WEIGHTS) - 1 or min(original.shape) < 2 * _MIN_SIDE_PX
        similarities.append(luminance * contrast if is_last else contrast)
        weights.append(weight)
        if is_last:
            break
        original, candidate = _halve(original), _halve(candidate)
    exponents = np.array(weights) / sum(weights)
    return float(np.prod(np.maximum(similarities, 0.0) ** exponents))


def _similarity(left: Luma, right: Luma) -> tuple[float, float]:
    """Means over the picture of the luminance term and of the contrast and structure term."""

    def blur(values: Luma) -> Luma:
        blurred: Luma = gaussian_filter(values, _SIGMA, truncate=3.5, mode="reflect")
        return blurred

    mean_left, mean_right = blur(left), blur(right)
    product = mean_left * mean_right
    squares = mean_left * mean_left + mean_right * mean_right
    covariance = blur(left * right) - product
    variances = blur(left * left + right * right) - squares
    luminance = (2 * product + _C1) / (squares + _C1)
    contrast = (2 * covariance + _C2) / (variances + _C2)
    return float(luminance.mean()), float(contrast.mean())


def _halve(values: Luma) -> Luma:
    height, width = (side // 2 * 2 for side in values.shape)
    even = values[:height, :width]
    halved: Luma = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)
    return halved
