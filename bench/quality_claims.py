"""What the measured rows of a set add up to: ratios, counts and gains, beside what was asked for. Prints nothing."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from codec.metrics.compare import OURS, OURS_COARSE, Row

DISTANCE = "sqz-dist"
MOST_BPP = 0.05
_AVIF = "avif"


@dataclass(frozen=True)
class Claim:
    """A figure beside its target; `is_met` None when it was not measured, or has no target and is only told."""

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


def best_rate(rows: Sequence[Row]) -> int | None:
    """The highest rate whose mean is within the bits that the project is judged at."""
    fitting = [
        rate
        for rate in sorted({row.rate for row in rows if row.codec == OURS and row.error is None})
        if (mean_of(select(rows, OURS, rate), "bpp") or 0) <= MOST_BPP
    ]
    return fitting[-1] if fitting else None


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


def claims_of(results: Sequence[dict[str, Any]]) -> list[Claim]:
    """What is asked of a set, at the highest rate that stays within 0.05 bpp on average."""
    rows = [row for result in results for row in result["rows"]]
    rate = best_rate(rows)
    if rate is None:
        return [Claim("a rate with a mean of at most 0.05 bpp", "none", "one", False)]
    bpp = mean_of(select(rows, OURS, rate), "bpp")
    at = f"rate {rate}, {bpp:.4f} bpp"

    def compared(metric: str, other: str, combine: Callable[[float, float], float]) -> float | None:
        left, right = mean_of(select(rows, OURS, rate), metric), mean_of(select(rows, other, rate), metric)
        return None if left is None or right is None else combine(left, right)

    def ratio(left: float, right: float) -> float:
        return left / right

    def less(left: float, right: float) -> float:
        return left - right

    claims = [
        _claim(f"{DISTANCE} over AVIF's ({at})", compared(DISTANCE, _AVIF, ratio), "<= 0.75", lambda x: x <= 0.75),
        _claim("ms-ssim-rgb minus AVIF's", compared("ms-ssim-rgb", _AVIF, less), ">= -0.04", lambda x: x >= -0.04),
        _claim("haarpsi minus AVIF's", compared("haarpsi", _AVIF, less), ">= 0", lambda x: x >= 0),
        _claim("gmsd minus AVIF's", compared("gmsd", _AVIF, less), "<= 0", lambda x: x <= 0),
        _claim("psnr-rgb minus AVIF's", compared("psnr-rgb", _AVIF, less), "told", lambda x: None),
        _claim(
            f"{DISTANCE} over our coarse picture's",
            compared(DISTANCE, OURS_COARSE, ratio),
            "<= 0.80",
            lambda x: x <= 0.8,
        ),
        _claim(
            "psnr-rgb minus our coarse picture's",
            compared("psnr-rgb", OURS_COARSE, less),
            ">= -1.5",
            lambda x: x >= -1.5,
        ),
    ]
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


def _claim(name: str, value: float | None, target: str, holds: Callable[[float], bool | None]) -> Claim:
    if value is None:
        return Claim(name, "not measured", target, None)
    return Claim(name, f"{value:.4f}", target, holds(value))
