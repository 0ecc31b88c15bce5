"""sqz-dist as a metric of reports; the network itself is in `sqz.py`."""

from pathlib import Path

import torch

from codec.metrics.metric import View, require_side
from codec.metrics.sqz import MIN_SIDE_PX, SqzDistance


class SqzMetric:
    """sqz-dist of the 8-bit pictures. Not LPIPS."""

    name = "sqz-dist"
    is_distance = True

    def __init__(self, weights: Path) -> None:
        self._distance = SqzDistance(weights)

    @torch.inference_mode()
    def score(self, original: View, candidate: View) -> float:
        """0 for equal pictures, not bounded by 1. Undefined below 17 pixels a side."""
        require_side(original, MIN_SIDE_PX)
        # An original is compared with many candidates, and half of the time would go into its own features.
        if self.name not in original.memo:
            original.memo[self.name] = self._distance.features(original.tensor)
        parts = self._distance.between(original.memo[self.name], self._distance.features(candidate.tensor))
        return float(parts.sum())
