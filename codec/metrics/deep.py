"""Distances of deep features as metrics of reports: LPIPS, DISTS and sqz-dist. The networks are in other modules."""

from typing import Any, Protocol

import torch

from codec.metrics.metric import Undefined, View, require_side


class FeatureDistance(Protocol):
    """A distance that is taken between features, so that those of an original need computing only once."""

    def features(self, pictures: torch.Tensor) -> Any:
        """Features of (B, 3, H, W) float32 RGB in [0, 1]."""

    def between(self, left: Any, right: Any) -> torch.Tensor:
        """(B,) distances, or (B, parts) that add up to them."""


class DeepMetric:
    """A feature distance of the 8-bit pictures, 0 for equal ones and not bounded by 1."""

    is_distance = True

    def __init__(
        self, name: str, distance: FeatureDistance, *, min_side_px: int, max_pixels: int | None = None
    ) -> None:
        """`max_pixels` bounds the memory that features of a picture take."""
        self._name, self._distance = name, distance
        self._min_side_px, self._max_pixels = min_side_px, max_pixels

    @property
    def name(self) -> str:
        """As reports call it."""
        return self._name

    @torch.inference_mode()
    def score(self, original: View, candidate: View) -> float:
        """Undefined below `min_side_px` a side and above `max_pixels`."""
        require_side(original, self._min_side_px)
        width, height = original.picture.size
        if self._max_pixels is not None and width * height > self._max_pixels:
            raise Undefined(f"features of more than {self._max_pixels / 1e6:g} megapixels take too much memory")
        # An original is compared with many candidates, and half of the time would go into its own features.
        if self._name not in original.memo:
            original.memo[self._name] = self._distance.features(original.tensor)
        features = self._distance.features(candidate.tensor)
        return float(self._distance.between(original.memo[self._name], features).sum())
