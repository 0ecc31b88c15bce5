"""The quality that fits, in few trials, whatever the curve of bytes looks like."""

import math

import pytest

from codec.encode.coarse.rate_search import RateSearch


def search(sizes: dict[int, int | None], growth: float = 0.06) -> tuple[RateSearch, list[int]]:
    tried: list[int] = []

    def size_of(quality: int) -> int | None:
        tried.append(quality)
        return sizes[quality]

    return RateSearch(size_of, min(sizes), max(sizes), growth), tried


EXPONENTIAL = {quality: round(300 * math.exp(0.06 * quality)) for quality in range(64)}
STEPS = {quality: 300 * (1 + quality // 4) ** 2 for quality in range(101)}


@pytest.mark.parametrize("limit", [300, 301, 999, 2457, 13_000, 10**9])
@pytest.mark.parametrize("sizes", [EXPONENTIAL, STEPS], ids=["exponential", "steps"])
@pytest.mark.parametrize("first", [0, 24, 63])
def test_highest_quality_that_fits_is_found(sizes: dict[int, int | None], limit: int, first: int) -> None:
    found, tried = search(sizes)
    expected = max(quality for quality, size in sizes.items() if size is not None and size <= limit)
    assert found.highest_within(limit, first) == expected
    assert len(tried) == len(set(tried)) <= 12


def test_curve_that_the_model_knows_takes_three_trials() -> None:
    found, tried = search(EXPONENTIAL)
    found.highest_within(2457, 24)
    assert len(tried) <= 3


def test_trials_of_one_limit_serve_the_next() -> None:
    found, tried = search(EXPONENTIAL)
    found.highest_within(2457, 24)
    tried.clear()
    found.highest_within(2456, 24)
    assert tried == []


def test_nothing_fits_or_nothing_can_be_made() -> None:
    found, tried = search(EXPONENTIAL)
    assert found.highest_within(299, 24) is None
    assert 0 in tried
    impossible, _ = search(dict.fromkeys(range(10), None))
    assert impossible.highest_within(1000, 5) is None


def test_dip_in_the_bytes_does_not_mislead_it() -> None:
    sizes = dict(EXPONENTIAL)
    sizes[30], sizes[31] = sizes[31], sizes[30]
    for limit in range(1500, 2200, 7):
        found, _ = search(sizes)
        quality = found.highest_within(limit, 24)
        assert quality is not None and sizes[quality] <= limit < sizes[quality + 1]
