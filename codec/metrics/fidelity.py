"""Fidelity in CompressAI's definitions and names, so that figures may stand beside those of learned codecs."""

import math

import numpy as np

from codec.metrics.metric import Undefined, View, require_side

_MS_SSIM_MIN_SIDE_PX = 161
"""Five scales of a window of 11 pixels need as many."""


class PSNR:
    """Peak signal-to-noise ratio in dB over all samples of the 8-bit RGB pictures, per picture."""

    name = "psnr-rgb"
    is_distance = False

    def score(self, original: View, candidate: View) -> float:
        """In dB. Undefined for equal pictures, where it is infinite."""
        difference = original.pixels.astype(np.float64) - candidate.pixels
        error = float(np.mean(difference * difference))
        if error == 0:
            raise Undefined("the pictures are equal, so it is infinite")
        return 10 * math.log10(255 * 255 / error)


class MSSSIM:
    """Multi-scale structural similarity (Wang, Simoncelli and Bovik, 2003) over RGB, by pytorch-msssim."""

    name = "ms-ssim-rgb"
    is_distance = False

    def score(self, original: View, candidate: View) -> float:
        """In [0, 1], 1 for equal pictures. Undefined below 161 pixels a side."""
        from pytorch_msssim import ms_ssim

        require_side(original, _MS_SSIM_MIN_SIDE_PX)
        return float(ms_ssim(original.tensor, candidate.tensor, data_range=1.0))
