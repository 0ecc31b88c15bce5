"""GMSD and HaarPSI by piq: agreement of edges, without any network, so nothing here can have been trained on them."""

from codec.metrics.metric import View, require_side

_GMSD_MIN_SIDE_PX = 4
"""Gradients are taken at half size; below two positions a side they say nothing."""

_HAARPSI_MIN_SIDE_PX = 16
"""The coarsest of its three Haar filters, at half size."""


class GMSD:
    """Gradient magnitude similarity deviation on luma (Xue, Zhang, Mou and Bovik, arXiv 1308.3052)."""

    name = "gmsd"
    is_distance = True

    def score(self, original: View, candidate: View) -> float:
        """0 for equal pictures, in practice below 0.35. Undefined below 4 pixels a side."""
        import piq

        require_side(original, _GMSD_MIN_SIDE_PX)
        return float(piq.gmsd(original.tensor, candidate.tensor, data_range=1.0))


class HaarPSI:
    """Haar wavelet perceptual similarity index (Reisenhofer, Bosse, Kutyniok and Wiegand, arXiv 1607.06140)."""

    name = "haarpsi"
    is_distance = False

    def score(self, original: View, candidate: View) -> float:
        """In [0, 1], 1 for equal pictures. Undefined below 16 pixels a side."""
        import piq

        require_side(original, _HAARPSI_MIN_SIDE_PX)
        return float(piq.haarpsi(original.tensor, candidate.tensor, data_range=1.0))
