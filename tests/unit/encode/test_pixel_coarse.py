"""The pixel mode's grids and averages, and that the decoder's picture sits in the middle of the steps."""

import numpy as np
import pytest
from PIL import Image

from codec.bitstream import Stream
from codec.decode.coarse import rebuild_coarse
from codec.encode.coarse.pixel import encode_pixel_coarse, published_grid


@pytest.mark.parametrize(
    ("size", "blocks", "grid"),
    [
        ((768, 512), 32, (32, 21)),
        ((512, 768), 32, (21, 32)),
        ((512, 512), 32, (32, 32)),
        ((1024, 16), 32, (32, 1)),
        ((3000, 1), 256, (256, 1)),
        ((768, 512), 1, (1, 1)),
        ((10, 5), 32, (10, 5)),
        ((1, 1), 32, (1, 1)),
    ],
)
def test_long_edge_gets_the_blocks(size: tuple[int, int], blocks: int, grid: tuple[int, int]) -> None:
    coarse = encode_pixel_coarse(Image.new("RGB", size), blocks, 3)
    assert (coarse.columns, coarse.rows) == grid
    assert len(coarse.samples) == grid[0] * grid[1] * 3


@pytest.mark.parametrize(
    ("size", "edge_min", "grid"),
    [
        ((768, 512), 32, (16, 10)),
        ((512, 768), 32, (10, 16)),
        ((768, 512), 64, (12, 8)),
        ((512, 512), 32, (16, 16)),
        ((1000, 700), 32, (16, 11)),
        ((100, 40), 32, (3, 1)),
        ((100, 20), 32, (3, 1)),
    ],
)
def test_published_grid_takes_the_number_as_block_edge(
    size: tuple[int, int], edge_min: int, grid: tuple[int, int]
) -> None:
    assert published_grid(*size, edge_min) == grid
    coarse = encode_pixel_coarse(Image.new("RGB", size), edge_min, 3, published=True)
    assert (coarse.columns, coarse.rows) == grid


def test_published_blocks_are_those_of_the_published_code() -> None:
    """`to_block` of the notebook: Pillow's own filter for `resize`, floored to multiples of 2**level."""
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (512, 768, 3), dtype=np.uint8))
    block = max(int(max(picture.size) / 16), 32)
    reduced = picture.resize((int(picture.size[0] / block), int(picture.size[1] / block)))
    expected = (np.floor(np.array(reduced) / 8) * 8).astype(np.uint8)
    coarse = encode_pixel_coarse(picture, 32, 3, published=True)
    assert (coarse.columns, coarse.rows) == (16, 10)
    ours = np.frombuffer(coarse.samples, np.uint8).reshape(10, 16, 3) << 3
    assert np.array_equal(ours, expected)


def test_published_grid_never_exceeds_what_the_format_holds() -> None:
    assert max(published_grid(3000, 3000, 1)) <= 256


def test_samples_are_block_averages_floored_to_the_level() -> None:
    array = np.zeros((4, 8, 3), dtype=np.uint8)
    array[:, :4] = (100, 200, 30)
    array[:, 4:] = (7, 8, 255)
    coarse = encode_pixel_coarse(Image.fromarray(array), 2, 3)
    assert list(coarse.samples) == [12, 25, 3, 0, 1, 31]


@pytest.mark.parametrize("level", range(8))
def test_rebuilt_values_are_the_middle_of_each_step(level: int) -> None:
    for value in (0, 1, 127, 128, 254, 255):
        picture = Image.new("RGB", (64, 48), (value, value, value))
        coarse = encode_pixel_coarse(picture, 32, level)
        rebuilt = rebuild_coarse(Stream(64, 48, coarse))
        expected = (value >> level << level) + (1 << level >> 1)
        assert rebuilt.size == (64, 48)
        assert rebuilt.getextrema() == ((expected, expected),) * 3
