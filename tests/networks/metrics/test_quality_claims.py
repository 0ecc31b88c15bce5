"""What `bench.quality` makes of measured rows, on rows whose sums are known, and its timing in fresh processes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from bench.quality_claims import against_wordless, claims_of, counts, interpolated, monotone, words
from bench.quality_speed import speed_of
from codec.metrics.compare import OURS, OURS_COARSE, Row
from tests.unit.cli.conftest import write_photo


def row(source: str, codec: str, rate: int, bpp: float, distance: float, **others: float) -> Row:
    return Row(source, codec, rate, bpp, round(bpp * 49_152), {"lpips-alex": distance, **others})


def result(source: str, scale: float = 1.0, weave: float = -1.0) -> dict[str, Any]:
    """One picture: ours at 0.7 of AVIF's distance, falling with the rate."""
    rows, wordless = [], []
    for rate, bpp, distance in ((1, 0.02, 0.30), (2, 0.03, 0.25), (3, 0.06, 0.20)):
        ours = distance * scale
        figures = {"ms-ssim-rgb": 0.85, "haarpsi": 0.6, "gmsd": 0.1, "psnr-rgb": 24.0, "dists": 0.13, "weave": weave}
        theirs = {"ms-ssim-rgb": 0.86, "haarpsi": 0.62, "gmsd": 0.11, "psnr-rgb": 25.4, "dists": 0.20, "weave": -4.0}
        rows += [
            row(source, OURS, rate, bpp, ours, **figures),
            row(source, OURS_COARSE, rate, bpp, ours / 0.75, **{"psnr-rgb": 25.0}),
            row(source, "avif", rate, bpp, ours / 0.7, **theirs),
        ]
        wordless.append(row(source, "misc without text", rate, bpp - 0.005, ours + 0.03))
    right, wrong = {"lpips-alex": 0.25 * scale}, {"lpips-alex": 0.26}
    return {"rows": rows, "wordless": wordless, "wrong_words": {2: {"right": right, "wrong": wrong}}}


def test_each_claim_is_held_against_its_target() -> None:
    claims = {claim.words: claim for claim in claims_of([result("a"), result("b", weave=3.5)])}
    expected = {
        "rate 3: bits per pixel": ("0.0600", "<= 0.05", False),
        "rate 2: bits per pixel": ("0.0300", "<= 0.03", True),
        "rate 3: lpips-alex over AVIF's": ("0.7000", "<= 0.58", False),
        "rate 1: lpips-alex over AVIF's": ("0.7000", "<= 0.72", True),
        "rate 3: lpips-vgg over AVIF's": ("not measured", "<= 0.78", None),
        "rate 3: dists over AVIF's": ("0.6500", "<= 0.65", True),
        "rate 3: haarpsi over AVIF's": ("0.9677", ">= 0.98", False),
        "rate 3: gmsd over AVIF's": ("0.9091", "<= 1.02", True),
        "rate 3: psnr-rgb minus AVIF's": ("-1.4000", ">= -1.5", True),
        "rate 3: ms-ssim-rgb minus AVIF's": ("-0.0100", ">= -0.035", True),
        "rate 2: mean weave in dB": ("1.2500", "<= 0", False),
        "rate 1: worst weave in dB": ("3.5000", "<= 3", False),
    }
    for words_of_claim, found in expected.items():
        claim = claims[words_of_claim]
        assert (claim.figure, claim.target, claim.is_met) == found, words_of_claim
    own = claims["pictures closer with their own words than with others', rate 2"]
    assert (own.figure, own.target, own.is_met) == ("2 of 2, 0 equal", ">= 2", True)


def test_pictures_are_counted_in_the_metrics_own_direction() -> None:
    rows = [each for source, scale in (("a", 1.0), ("b", 2.0)) for each in result(source, scale)["rows"]]
    assert counts(rows, 3, "lpips-alex", True) == (2, 2)
    assert counts(rows, 3, "psnr-rgb", False) == (0, 2)
    assert counts(rows, 3, "lpips-alex", True, OURS_COARSE) == (2, 2)
    assert counts(rows, 3, "sqz-dist", True) == (0, 0)


def test_words_are_counted_by_picture() -> None:
    counted = words([result("a"), result("b", 1.2), result("c", 1.04)], 2)
    assert (counted["pictures"], counted["right_is_closer"], counted["equal"]) == (3, 1, 1)
    assert counted["wrong"] == pytest.approx(0.26)
    assert words([result("a")], 3)["pictures"] == 0


def test_files_without_text_are_compared_at_the_bits_of_those_with() -> None:
    found = against_wordless([result("a")], 2)
    # Between 0.025 bpp, 0.28 and 0.055 bpp, 0.23, a sixth of the way.
    assert found["without_text_equal_bpp"] == pytest.approx(0.28 - 0.05 / 6)
    assert found["without_text_same_rate"]["bpp"] == pytest.approx(0.025)
    assert (found["with_text_is_closer"], found["outside"], found["pictures"]) == (1, 0, 1)
    assert against_wordless([result("a")], 3)["outside"] == 1


def test_interpolation_goes_on_beyond_the_ends() -> None:
    curve = [(3.0, 1.0), (1.0, 4.0), (2.0, 2.0)]
    assert [interpolated(curve, x) for x in (0.0, 1.0, 1.5, 2.5, 4.0)] == [6.0, 4.0, 3.0, 1.5, 0.0]


def test_rates_that_do_not_rise_are_counted() -> None:
    rows = result("a")["rows"] + [row("b", OURS, rate, 0.02, 0.3) for rate in (1, 2, 3)]
    found = monotone(rows)
    assert (found["pictures"], found["bytes_rise"], found["distance_falls"]) == (2, 1, 1)
    assert found["mean_distance_falls"]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    rows = [replace(each, metrics={}) for each in result("a")["rows"]]
    claims = {claim.words: claim for claim in claims_of([{"rows": rows, "wordless": [], "wrong_words": {}}])}
    assert claims["pictures whose bytes rise with the rate; mean distance falls"].is_met is None
    assert claims["rate 2: lpips-alex over AVIF's"].is_met is None


def test_files_without_text_that_are_all_alike_make_no_curve() -> None:
    one = result("a")
    one["wordless"] = [row("a", OURS, rate, 0.02, 0.3) for rate in (1, 2, 3)]
    assert against_wordless([one], 2)["pictures"] == 0


def test_speed_is_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    write_photo(tmp_path / "photo.png", 384, 256)
    found = speed_of(tmp_path / "photo.png", "lite", 2)
    assert set(found) == {"encode", "decode"}
    for part in found.values():
        assert part["first_seconds"] > 0 and math.isfinite(part["load_seconds"])
        assert 10_000_000 < part["peak_bytes"] < 10_000_000_000
