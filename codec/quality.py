"""What may be asked of a picture that comes back: to be at least so good, by one metric. Measures nothing itself."""

import math
from dataclasses import dataclass
from typing import Self

METRICS = {"psnr-rgb": False, "ms-ssim-rgb": False, "lpips-alex": True, "sqz-dist": True}
"""Those that are measured at ingest, and whether they are distances, of which less is better; docs/evaluation.md."""


@dataclass(frozen=True)
class Minimum:
    """The worst figure of a metric that is good enough."""

    metric: str
    figure: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of "METRIC=FIGURE", as `ms-ssim-rgb=0.8`; raises ValueError."""
        metric, _, figure = text.partition("=")
        try:
            value = float(figure)
        except ValueError:
            value = math.nan
        if metric not in METRICS or not math.isfinite(value):
            raise ValueError(f"{text!r} is not METRIC=FIGURE with one of {', '.join(METRICS)}, as ms-ssim-rgb=0.8")
        return cls(metric, value)

    def is_met_by(self, figure: float | None) -> bool:
        """Whether this is good enough; a figure that does not exist is not."""
        if figure is None:
            return False
        return figure <= self.figure if METRICS[self.metric] else figure >= self.figure

    def __str__(self) -> str:
        return f"{self.metric} of at {'most' if METRICS[self.metric] else 'least'} {self.figure:g}"
