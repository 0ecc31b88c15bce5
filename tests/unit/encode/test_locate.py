"""Similarity maps become one bit a block, as the published code makes them."""

import numpy as np
import pytest
from skimage.transform import resize

from codec.encode.locate.masks import masks_from_maps, reduce_map


def bits(values: np.ndarray, edge: int = 8) -> np.ndarray:
    (mask,) = masks_from_maps([values], edge).masks
    return np.frombuffer(mask, dtype=np.uint8).reshape(edge, edge)


def test_bright_quarter_is_marked() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[:32, 32:] = 1
    expected = np.zeros((8, 8), dtype=np.uint8)
    expected[:4, 4:] = 1
    assert np.array_equal(bits(values), expected)


def test_range_of_the_map_does_not_matter() -> None:
    values = np.random.default_rng(2).random((224, 224)).cumsum(axis=0).cumsum(axis=1)
    assert np.array_equal(bits(values), bits(values * 7 - 300))
    assert 0 < bits(values).sum() < 64


def test_threshold_is_above_a_third() -> None:
    ramp = np.tile(np.linspace(0, 1, 256), (256, 1))
    centres = (np.arange(8) + 0.5) / 8
    assert np.array_equal(bits(ramp)[4], (centres > 0.35).astype(np.uint8))


def test_small_specks_vanish_by_anti_aliasing() -> None:
    values = np.zeros((160, 160))
    values[10, 10] = 1
    assert bits(values).sum() == 0


@pytest.mark.parametrize("values", [np.full((16, 16), 3.0), np.full((16, 16), np.nan), np.full((5, 5), np.inf)])
def test_map_without_contrast_marks_nothing(values: np.ndarray) -> None:
    assert bits(values).sum() == 0


def test_one_mask_an_item_in_order() -> None:
    left, right = np.zeros((32, 48)), np.zeros((32, 48))
    left[:, :10], right[:, -10:] = 1, 1
    maps = masks_from_maps([left, right], edge=4)
    assert maps.edge == 4 and len(maps.masks) == 2
    assert maps.masks[0] == bytes([1, 0, 0, 0]) * 4 and maps.masks[1] == bytes([0, 0, 0, 1]) * 4


@pytest.mark.parametrize("shape", [(90, 120), (1, 7), (2, 300), (8, 8), (13, 5), (511, 340)])
@pytest.mark.parametrize("edge", [4, 8, 16])
def test_reduction_gives_the_numbers_of_scikit_image(shape: tuple[int, int], edge: int) -> None:
    grey = np.random.default_rng(shape[0] + edge).integers(0, 256, shape).astype(np.uint8)
    expected = resize(grey, (edge, edge), mode="reflect")
    assert np.abs(reduce_map(grey, edge) - expected).max() < 1e-12


def test_map_of_8_bits_is_not_stretched_again() -> None:
    faint = np.full((32, 32), 10, dtype=np.uint8)
    faint[:, 16:] = 80
    assert bits(faint).sum() == 0
    assert bits(faint.astype(np.float32)).sum() == 32
