"""The arithmetic of what storage costs, checked against sums made by hand."""

import pytest

from bench.storage_costs import INFREQUENT, STANDARD, Archive, bill

MILLION = Archive(10**6)


def test_loose_objects_are_two_a_picture_and_the_scrub_is_most_of_the_month() -> None:
    one = bill(MILLION, STANDARD, packed=False)
    assert (one.objects, one.charged_bytes) == (2e6, 4.75e9)
    # 3 PUTs and 5 GETs a picture; 2 GETs for the scrub and a hundredth for reading.
    assert one.taking_in == pytest.approx(15.0 + 2.0)
    assert one.money_month == pytest.approx(4.75 * 0.023 + 2_010_000 / 1000 * 0.0004)


def test_small_objects_of_a_cheap_class_are_charged_by_its_least_size() -> None:
    loose, packed = (bill(MILLION, INFREQUENT, packed=packed) for packed in (False, True))
    assert loose.charged_bytes == 2e6 * 128 * 1024
    assert packed.charged_bytes == pytest.approx(4.75e9)
    assert packed.objects == pytest.approx(4.75e9 / (64 * 1024 * 1024))
