"""What the measured rows of a set add up to: ratios, counts and gains, beside their targets. Prints nothing."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from codec.metrics.compare import OURS, Row
from codec.options import RATE_BUDGETS

DISTANCE = "lpips-alex"
"""By which pictures are counted, and files with and without text compared: no network here was trained on it."""

_AVIF = "avif"
_WEAVE = "weave"
_MOST_MEAN_WEAVE, _MOST_WEAVE = 0.0, 3.0

_MOST_RATIOS = {
    3: {"lpips-alex": 0.58, "lpips-vgg": 0.78, "dists": 0.65, "sqz-dist": 0.80, "gmsd": 1.02},
    2: {"lpips-alex": 0.65},
    1: {"lpips-alex": 0.72},
}
"""Of our mean over AVIF's, where less is better."""

_LEAST_RATIOS = {3: {"haarpsi": 0.98}}
_LEAST_DIFFERENCES = {3: {"psnr-rgb": -1.5, "ms-ssim-rgb": -0.035}}
"""Of our mean over, and minus, AVIF's, where more is better."""


@dataclass(frozen=True)
class Claim:
    """A figure beside its target; `is_met` None when it was not measured, or has no target."""

    words: str
    figure: str
    target: str
    is_met: bool | None


def mean_of(rows: Iterable[Row], metric: str) -> float | None:
    """Mean of a metric, or of "bpp", over rows that have it; None for none."""
    values = [row.bpp if metric == "bpp" else row.metrics.get(metric) for row in rows if row.error is None]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def select(rows: Sequence[Row], codec: str, rate: int) -> list[Row]:
    """The rows of a codec at a rate."""
    return [row for row in rows if row.codec == codec and row.rate == rate and row.error is None]


def monotone(rows: Sequence[Row]) -> dict[str, Any]:
    """Pictures whose bytes rise with the rate, whose distance falls with it, and whether the means do."""
    ours = [row for row in rows if row.codec == OURS and row.error is None]
    by_source = [sorted((r for r in ours if r.source == s), key=lambda row: row.rate) for s in {r.source for r in ours}]
    rates = sorted({row.rate for row in ours})
    distances = [mean_of(select(rows, OURS, rate), DISTANCE) for rate in rates]
    return {
        "pictures": len(by_source),
        "bytes_rise": sum(all((b.bytes or 0) > (a.bytes or 0) for a, b in pairwise(group)) for group in by_source),
        "distance_falls": sum(_falls([row.metrics.get(DISTANCE) for row in group]) for group in by_source),
        "mean_distance_falls": _falls(distances),
    }


def _falls(values: Sequence[float | None]) -> bool:
    return None not in values and all(b < a for a, b in pairwise(values))  # type: ignore[operator]


def words(results: Sequence[dict[str, Any]], rate: int) -> dict[str, Any]:
    """On how many pictures the right words give the smaller distance than another picture's, and the means."""
    pairs = [result["wrong_words"][rate] for result in results if rate in result["wrong_words"]]
    figures = [(pair["right"].get(DISTANCE), pair["wrong"].get(DISTANCE)) for pair in pairs]
    known = [(right, wrong) for right, wrong in figures if right is not None and wrong is not None]
    return {
        "pictures": len(known),
        "right_is_closer": sum(right < wrong for right, wrong in known),
        "equal": sum(right == wrong for right, wrong in known),
        "right": statistics.fmean(right for right, _ in known) if known else None,
        "wrong": statistics.fmean(wrong for _, wrong in known) if known else None,
    }


def against_wordless(results: Sequence[dict[str, Any]], rate: int) -> dict[str, Any]:
    """Files with text beside files without whose bits went to the coarse picture, per picture and at equal bpp.

    The curve of files without text is interpolated linearly between the rates; `outside` counts pictures where it had
    to be continued beyond its ends.
    """
    with_text: list[float] = []
    at_equal: list[float] = []
    outside = closer = 0
    for result in results:
        ours = _points(select(result["rows"], OURS, rate))
        curve = _points(result["wordless"])
        if not ours or len({bpp for bpp, _ in curve}) < 2:
            continue
        ((bpp, distance),) = ours
        with_text.append(distance)
        at_equal.append(interpolated(curve, bpp))
        outside += not min(curve)[0] <= bpp <= max(curve)[0]
        closer += distance < at_equal[-1]
    wordless = [row for result in results for row in result["wordless"] if row.rate == rate]
    return {
        "pictures": len(with_text),
        "with_text": statistics.fmean(with_text) if with_text else None,
        "without_text_same_rate": {"bpp": mean_of(wordless, "bpp"), DISTANCE: mean_of(wordless, DISTANCE)},
        "without_text_equal_bpp": statistics.fmean(at_equal) if at_equal else None,
        "with_text_is_closer": closer,
        "outside": outside,
    }


def _points(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """bpp and distance of the rows that have both."""
    pairs = [(row.bpp, row.metrics.get(DISTANCE)) for row in rows]
    return [(bpp, distance) for bpp, distance in pairs if bpp is not None and distance is not None]


def interpolated(curve: Iterable[tuple[float, float]], x: float) -> float:
    """Piecewise linear through the points; beyond the ends the last piece goes on. Needs two points of unequal x."""
    points = sorted(curve)
    pieces = [(a, b) for a, b in pairwise(points) if b[0] > a[0]]
    (x0, y0), (x1, y1) = next((piece for piece in pieces if x <= piece[1][0]), pieces[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def counts(rows: Sequence[Row], rate: int, metric: str, is_distance: bool, other: str = _AVIF) -> tuple[int, int]:
    """On how many pictures ours is better than another codec's by a metric, and of how many that have both figures."""
    theirs = {row.source: row.metrics.get(metric) for row in select(rows, other, rate)}
    pairs = [(row.metrics.get(metric), theirs.get(row.source)) for row in select(rows, OURS, rate)]
    known = [(ours, their) for ours, their in pairs if ours is not None and their is not None]
    return sum(ours < their if is_distance else ours > their for ours, their in known), len(known)


def claims_of(results: Sequence[dict[str, Any]]) -> list[Claim]:
    """The targets of a set at each rate, and of the words."""
    rows = [row for result in results for row in result["rows"]]
    claims = [claim for rate in sorted(RATE_BUDGETS, reverse=True) for claim in _claims_at(rows, rate)]
    found = monotone(rows)
    whole = found["pictures"]
    claims.append(
        Claim(
            "pictures whose bytes rise with the rate; mean distance falls",
            f"{found['bytes_rise']} of {whole}; {'yes' if found['mean_distance_falls'] else 'no'}",
            "all; yes",
            None if mean_of(rows, DISTANCE) is None else found["bytes_rise"] == whole and found["mean_distance_falls"],
        )
    )
    for text_rate in sorted({rate for result in results for rate in result["wrong_words"]}):
        counted = words(results, text_rate)
        needed = -(-17 * counted["pictures"] // 24)
        claims.append(
            Claim(
                f"pictures closer with their own words than with others', rate {text_rate}",
                f"{counted['right_is_closer']} of {counted['pictures']}, {counted['equal']} equal",
                f">= {needed}",
                counted["right_is_closer"] >= needed if counted["pictures"] else None,
            )
        )
    return claims


def _claims_at(rows: Sequence[Row], rate: int) -> list[Claim]:
    ours = select(rows, OURS, rate)
    if not ours:
        return []
    budget, bpp = RATE_BUDGETS[rate], mean_of(ours, "bpp")
    at = f"rate {rate}: "
    claims = [_claim(f"{at}bits per pixel", bpp, f"<= {budget}", lambda x: x <= budget)]
    for metric, most in _MOST_RATIOS[rate].items():
        value = _compared(rows, rate, metric, lambda ours, theirs: ours / theirs)
        claims.append(_claim(f"{at}{metric} over AVIF's", value, f"<= {most}", _at_most(most)))
    for metric, least in _LEAST_RATIOS.get(rate, {}).items():
        value = _compared(rows, rate, metric, lambda ours, theirs: ours / theirs)
        claims.append(_claim(f"{at}{metric} over AVIF's", value, f">= {least}", _at_least(least)))
    for metric, least in _LEAST_DIFFERENCES.get(rate, {}).items():
        value = _compared(rows, rate, metric, lambda ours, theirs: ours - theirs)
        claims.append(_claim(f"{at}{metric} minus AVIF's", value, f">= {least}", _at_least(least)))
    weaves = [value for row in ours if (value := row.metrics.get(_WEAVE)) is not None]
    mean = statistics.fmean(weaves) if weaves else None
    claims.append(_claim(f"{at}mean weave in dB", mean, f"<= {_MOST_MEAN_WEAVE:g}", _at_most(_MOST_MEAN_WEAVE)))
    worst = max(weaves, default=None)
    return [*claims, _claim(f"{at}worst weave in dB", worst, f"<= {_MOST_WEAVE:g}", _at_most(_MOST_WEAVE))]


def _compared(rows: Sequence[Row], rate: int, metric: str, combine: Callable[[float, float], float]) -> float | None:
    left, right = mean_of(select(rows, OURS, rate), metric), mean_of(select(rows, _AVIF, rate), metric)
    return None if left is None or right is None else combine(left, right)


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _claim(name: str, value: float | None, target: str, holds: Callable[[float], bool | None]) -> Claim:
    if value is None:
        return Claim(name, "not measured", target, None)
    return Claim(name, f"{value:.4f}", target, holds(value))
