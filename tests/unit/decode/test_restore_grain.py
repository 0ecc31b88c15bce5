"""Grain that is added: its strength, the same everywhere for a seed, none in black and white."""

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from codec.decode.restore.grain import add_grain

Bytes = npt.NDArray[np.uint8]


def grey(level: int, height: int = 300, width: int = 400) -> Bytes:
    return np.full((height, width, 3), level, np.uint8)


def with_grain(picture: Bytes, deviation: float = 2.0, seed: int = 7) -> Bytes:
    grained = picture.copy()
    add_grain(grained, deviation, seed)
    return grained


@pytest.mark.parametrize("deviation", [0.5, 2.0, 4.0])
def test_noise_has_the_deviation_and_no_mean(deviation: float) -> None:
    noise = with_grain(grey(128), deviation)[..., 0].astype(float) - 128
    assert noise.std() == pytest.approx(np.hypot(deviation, 12**-0.5), rel=0.05)
    assert abs(noise.mean()) < 0.05


def test_noise_is_white_and_has_no_colour() -> None:
    noise = with_grain(grey(128), 4.0).astype(float) - 128
    assert (noise == noise[..., :1]).all()
    luma = noise[..., 0]
    for axis in (0, 1):
        assert abs((luma * np.roll(luma, 1, axis)).mean()) < 0.02 * luma.var()


def test_a_seed_gives_one_noise_on_every_machine() -> None:
    assert (
        hashlib.sha256(with_grain(grey(128)).tobytes()).hexdigest()
        == "71f875fd2e7564fe3ae634285d7b5dca9e42d962c32b2711c54e976bc2f22e9b"
    )
    assert (with_grain(grey(128)) != with_grain(grey(128), seed=8)).any()


def test_black_and_white_stay() -> None:
    for level in (0, 255):
        assert (with_grain(grey(level), 4.0) == level).all()


def test_strips_go_on_where_the_ones_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = with_grain(grey(128))
    monkeypatch.setattr("codec.decode.restore.grain._STRIP_PIXELS", 1234)
    assert (with_grain(grey(128)) == whole).all()
