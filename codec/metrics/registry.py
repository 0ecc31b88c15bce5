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
from codec.metrics.deep import DeepMetric
from codec.metrics.dists import DISTS
from codec.metrics.fidelity import MSSSIM, PSNR
from codec.metrics.gradients import GMSD, HaarPSI
from codec.metrics.image_features import ALEXNET, VGG16
from codec.metrics.lpips import LPIPS
from codec.metrics.metric import Metric, Undefined, View
from codec.metrics.perceptual_weights import REMEDY, WEIGHTS_VARIABLE, Arrays, load_perceptual_arrays
from codec.metrics.sqz import MIN_SIDE_PX, SqzDistance, find_weights
from codec.metrics.sqz import WEIGHTS_VARIABLE as SQZ_WEIGHTS_VARIABLE
from codec.metrics.trials import Trials
from codec.metrics.weave import Weave

_SQZ = "sqz-dist"
_JUDGES = ("lpips-alex", _SQZ, "ms-ssim-rgb")
"""By which of two pictures is called the better one: the first that is defined."""

_SLOW = ("lpips-vgg", "dists")

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
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def is_distance(self) -> dict[str, bool]:
        """By name, whether less is better."""
        return {metric.name: metric.is_distance for metric in self.each}

    def quick(self) -> "Metrics":
        """Those that take less than a second a picture: all but the ones over VGG16."""
        return Metrics(tuple(metric for metric in self.each if metric.name not in _SLOW), self.left_out)

    def measure(self, original: View, candidate: Image.Image, kept: Trials | None = None) -> Measured:
        """All figures of a picture of the original's size, those in `kept` taken from there."""
        if candidate.size != original.picture.size:
            raise ValueError(f"the candidate has the size {candidate.size}, the original {original.picture.size}")
        view = View(candidate)
        values: dict[str, float | None] = {}
        undefined: dict[str, str] = {}
        for metric in self.each:
            name = ("figure", metric.name, original.digest, view.digest)
            known = kept.get(name) if kept is not None else None
            try:
                value = metric.score(original, view) if known is None else float(known["figure"])
                if not math.isfinite(value):
                    raise Undefined("the figure is not finite")
            except Undefined as reason:
                values[metric.name] = None
                undefined[metric.name] = str(reason)
                continue
            values[metric.name] = value
            if kept is not None and known is None:
                kept.put(name, {"figure": value})
        return Measured(values, undefined)

    def judge(self, original: View) -> Judge:
        """LPIPS over AlexNet where it is there and defined, else sqz-dist, else MS-SSIM over RGB, else over luma, which
        has a figure at any size."""
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


_PERCEPTUAL: dict[str, tuple[tuple[str, ...], Callable[[Arrays], DeepMetric]]] = {
    "lpips-alex": (
        ("alex.lin0",),
        lambda arrays: DeepMetric("lpips-alex", LPIPS("alex", arrays), min_side_px=ALEXNET.min_side_px),
    ),
    "lpips-vgg": (("vgg.lin0",), lambda arrays: _over_vgg("lpips-vgg", LPIPS("vgg", arrays))),
    "dists": (("vgg.lin0", "dists.alpha"), lambda arrays: _over_vgg("dists", DISTS(arrays))),
}
"""By name: arrays that tell whether its weights are here, and how it is made."""

_VGG_MAX_PIXELS = 2_000_000
"""VGG16's first layers take 1 GB a megapixel, and the original's features as much again."""


def _over_vgg(name: str, distance: LPIPS | DISTS) -> DeepMetric:
    return DeepMetric(name, distance, min_side_px=VGG16.min_side_px, max_pixels=_VGG_MAX_PIXELS)


def load_metrics(sqz_weights: Path | None = None, perceptual_weights: Path | None = None) -> Metrics:
    """All metrics of this machine; sqz-dist by the given file, else by the one that MISC_SQZ_WEIGHTS names, LPIPS and
    DISTS as `load_perceptual_arrays` finds their weights.

    Raises FeatureUnavailable when a file of weights cannot be used.
    """
    each: list[Metric] = []
    left_out: dict[str, str] = {}
    arrays = load_perceptual_arrays(perceptual_weights)
    for name, (needed, make) in _PERCEPTUAL.items():
        if all(array in arrays for array in needed):
            each.append(make(arrays))
        else:
            left_out[name] = f"its weights are not here; {REMEDY}, or name a file with {WEIGHTS_VARIABLE}"
    sqz = sqz_weights or find_weights()
    if sqz is None:
        left_out[_SQZ] = f"its weights are not here; {SQZ_WEIGHTS_VARIABLE} names their file"
    else:
        try:
            each.append(DeepMetric(_SQZ, SqzDistance(sqz), min_side_px=MIN_SIDE_PX))
        except _UNREADABLE as error:
            raise FeatureUnavailable(f"{sqz} does not hold the weights of sqz-dist ({error}).") from None
    each.append(PSNR())
    if _is_installed("pytorch_msssim"):
        each.append(MSSSIM())
    else:
        left_out[MSSSIM.name] = "pytorch-msssim is not installed"
    if _is_installed("piq"):
        each += [HaarPSI(), GMSD()]
    else:
        left_out |= dict.fromkeys((HaarPSI.name, GMSD.name), "piq is not installed")
    each.append(Weave())
    return Metrics(tuple(each), left_out)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def share_processors(processes: int) -> None:
    """Let this process, one of so many, take its part of the processors; more threads would only wait."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
