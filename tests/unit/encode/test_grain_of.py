"""How much grain the encoder sees: that of noise, none in what pictures show, none in small pictures."""

import numpy as np
import pytest
from PIL import Image

from codec.bitstream.grain import GRAIN_STEP
from codec.encode.grain import grain_of


def noisy(deviation: float, size: tuple[int, int] = (384, 256)) -> Image.Image:
    width, height = size
    ramp = np.linspace(60, 190, width)[None, :] + np.zeros((height, 1))
    noise = np.random.default_rng(5).normal(0, deviation, (height, width))
    grey = np.clip(np.rint(ramp + noise), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


@pytest.mark.parametrize("deviation", [1.0, 2.0, 3.0])
def test_white_noise_is_measured(deviation: float) -> None:
    assert grain_of(noisy(deviation)) == pytest.approx(deviation, rel=0.12)


def test_grain_beyond_what_films_have_is_cut() -> None:
    assert grain_of(noisy(20.0)) == 4.0


def test_a_smooth_picture_has_none() -> None:
    width, height = 384, 256
    rows, columns = np.mgrid[:height, :width]
    wave = 128 + 60 * np.sin(rows / 20) * np.cos(columns / 30)
    assert grain_of(Image.fromarray(wave.astype(np.uint8)).convert("RGB")) == 0


def test_detail_that_grows_with_scale_is_no_grain() -> None:
    noise = np.random.default_rng(6).normal(0, 30, (256, 384))
    blurred = noise
    for axis in (0, 1, 0, 1):
        blurred = (np.roll(blurred, 1, axis) + 2 * blurred + np.roll(blurred, -1, axis)) / 4
    assert grain_of(Image.fromarray((128 + blurred).astype(np.uint8)).convert("RGB")) == 0


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (16, 16)])
def test_small_pictures_are_taken_as_they_are(size: tuple[int, int]) -> None:
    grain = grain_of(noisy(2.0, size))
    assert grain == GRAIN_STEP * round(grain / GRAIN_STEP)
    assert grain == 0 or min(size) >= 16


def test_few_squares_of_a_large_picture_are_looked_at() -> None:
    assert grain_of(noisy(2.0, (6000, 4000))) == pytest.approx(2.0, rel=0.12)
