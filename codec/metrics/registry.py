"""Which metrics can be computed here, and all of their figures for one picture."""

import importlib.util
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from codec.encode.coarse.score import luma_for_score, structural_score
from codec.errors import FeatureUnavailable
from codec.metrics.deep import SqzMetric
from codec.metrics.fidelity import MSSSIM, PSNR
from codec.metrics.gradients import GMSD, HaarPSI
from codec.metrics.metric import Metric, SetMetric, Undefined, View
from codec.metrics.sqz import WEIGHTS_VARIABLE, find_weights
from codec.metrics.toolbox import toolbox_metrics

_JUDGES = ("sqz-dist", "ms-ssim-rgb")
"""By which of two pictures is called the better one: the first that is defined."""

_LAST_JUDGE = "ms-ssim-luma"
"""Defined at every size."""


@dataclass(frozen=True)
class Measured:
    """Figures by metric; None where there is none, for the reason in `undefined`."""

    values: dict[str, float | None]
    undefined: dict[str, str]


@dataclass(frozen=True)
class Judge:
    """Tells by one metric which of several candidates comes closest to an original: the one of the least loss."""

    name: str
    loss: Callable[[Image.Image], float]


@dataclass(frozen=True)
class Metrics:
    """Those that can be computed here, and why the others cannot."""

    each: tuple[Metric, ...]
    sets: tuple[SetMetric, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def is_distance(self) -> dict[str, bool]:
        """By name, whether less is better."""
        return {metric.name: metric.is_distance for metric in self.each}

    def measure(self, original: View, candidate: Image.Image) -> Measured:
        """All figures of a picture of the original's size."""
        if candidate.size != original.picture.size:
            raise ValueError(f"the candidate has the size {candidate.size}, the original {original.picture.size}")
        view = View(candidate)
        values: dict[str, float | None] = {}
        undefined: dict[str, str] = {}
        for metric in self.each:
            try:
                value = metric.score(original, view)
                if not math.isfinite(value):
                    raise Undefined("the figure is not finite")
                values[metric.name] = value
            except Undefined as reason:
                values[metric.name] = None
                undefined[metric.name] = str(reason)
        return Measured(values, undefined)

    def judge(self, original: View) -> Judge:
        """sqz-dist where it is there and defined, else MS-SSIM over RGB, else MS-SSIM over luma at any size."""
        known = {metric.name: metric for metric in self.each}
        for name in _JUDGES:
            if name in known and _is_defined(known[name], original):
                return Judge(name, _loss(known[name], original))
        luma = luma_for_score(original.picture)
        return Judge(_LAST_JUDGE, lambda candidate: 1 - structural_score(luma, luma_for_score(candidate)))


def _is_defined(metric: Metric, original: View) -> bool:
    try:
        metric.score(original, original)
    except Undefined:
        return False
    return True


def _loss(metric: Metric, original: View) -> Callable[[Image.Image], float]:
    sign = 1.0 if metric.is_distance else -1.0
    return lambda candidate: sign * metric.score(original, View(candidate))


_UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)
"""What NumPy raises for files that are cut off, empty, or of another kind."""


def load_metrics(sqz_weights: Path | None = None) -> Metrics:
    """All metrics of this machine; sqz-dist by the given file, else by the one that MISC_SQZ_WEIGHTS names.

    Raises FeatureUnavailable when the file of sqz-dist cannot be used.
    """
    each: list[Metric] = [PSNR()]
    left_out: dict[str, str] = {}
    if _is_installed("pytorch_msssim"):
        each.append(MSSSIM())
    else:
        left_out[MSSSIM.name] = "pytorch-msssim is not installed"
    if _is_installed("piq"):
        each += [GMSD(), HaarPSI()]
    else:
        left_out |= dict.fromkeys((GMSD.name, HaarPSI.name), "piq is not installed")
    weights = sqz_weights or find_weights()
    if weights is None:
        left_out[SqzMetric.name] = f"its weights are not here; {WEIGHTS_VARIABLE} names their file"
    else:
        try:
            each.append(SqzMetric(weights))
        except _UNREADABLE as error:
            raise FeatureUnavailable(f"{weights} does not hold the weights of sqz-dist ({error}).") from None
    metrics, sets, reasons = toolbox_metrics()
    return Metrics((*each, *metrics), tuple(sets), left_out | reasons)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def share_processors(processes: int) -> None:
    """Let this process, one of so many, take its part of the processors; more threads would only wait."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
