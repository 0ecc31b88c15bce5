"""Weave of patterns that are known, in dB."""

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image, ImageFilter

from codec.metrics.metric import Undefined, View
from codec.metrics.weave import Weave


def photo(width: int = 320, height: int = 256) -> Image.Image:
    """Noise with the spectrum of photographs, amplitude falling with frequency."""
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    values = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1 / width), s=(height, width))
    grey = np.clip(127 + 40 * values / values.std(), 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, -1))


def woven(picture: Image.Image, frequency: tuple[float, float], amplitude: float) -> Image.Image:
    """The picture with a wave of so many cycles a pixel, down and across."""
    values = np.asarray(picture).astype(np.float64)
    y, x = np.mgrid[: picture.height, : picture.width]
    wave = amplitude * np.cos(2 * np.pi * (frequency[0] * y + frequency[1] * x) + 0.4)
    return Image.fromarray(np.clip(np.rint(values + wave[..., None]), 0, 255).astype(np.uint8))


def score(original: Image.Image, candidate: Image.Image) -> float:
    return Weave().score(View(original), View(candidate))


def test_picture_beside_itself_has_none() -> None:
    assert score(photo(), photo()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("radius", [2, 4])
def test_blurred_picture_has_less_than_none(radius: float) -> None:
    assert score(photo(), photo().filter(ImageFilter.GaussianBlur(radius))) < -3


@pytest.mark.parametrize(
    "frequency", [(0, 1 / 8), (1 / 4, 0), (0, 3 / 8), (1 / 2, 0), (1 / 8, 1 / 8), (1 / 4, -1 / 4), (1 / 2, 1 / 2)]
)
def test_wave_on_the_grid_stands_out_whatever_its_direction(frequency: tuple[float, float]) -> None:
    assert score(photo(), woven(photo(), frequency, 16)) > 12


def test_each_doubling_of_a_wave_adds_six_decibels() -> None:
    figures = [score(photo(), woven(photo(), (0, 1 / 4), amplitude)) for amplitude in (8, 16, 32)]
    assert np.diff(figures) == pytest.approx([6, 6], abs=0.7)


def test_wave_that_the_original_has_too_is_no_weave() -> None:
    striped = woven(photo(), (0, 1 / 4), 20)
    assert score(striped, striped) == pytest.approx(0, abs=0.05)


def test_wave_beside_the_grid_is_no_weave() -> None:
    assert score(photo(), woven(photo(), (0, 0.3125), 20)) < 3


def test_stronger_noise_of_all_frequencies_is_no_weave() -> None:
    noise = np.random.default_rng(6).normal(scale=15, size=(256, 320, 1))
    noisy = np.clip(np.asarray(photo()) + noise, 0, 255).astype(np.uint8)
    # The largest of nine bins stands a little over the median of the ring, and noise has no more than that.
    assert score(photo(), Image.fromarray(noisy)) < 6


def test_flat_pictures_have_a_figure_and_small_ones_have_none() -> None:
    black = Image.new("RGB", (64, 64))
    assert score(black, black) == 0
    with pytest.raises(Undefined, match="64"):
        score(photo(63, 200), photo(63, 200))
