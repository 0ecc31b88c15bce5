"""The spaced ancestral sampler: its constants' relations, and single steps against the formulas of the papers."""

import numpy as np
import pytest
import torch

from codec.decode.diffusion.ddpm import SpacedDDPM, spaced_timesteps, training_signal
from codec.nets.diffbir.config import Prediction


def test_stable_diffusions_schedule_ends_almost_without_signal() -> None:
    signal = training_signal()
    assert signal.shape == (1000,)
    assert signal[0] == pytest.approx(1 - 0.00085)
    assert signal[-1] == pytest.approx(0.0046600, rel=1e-4)
    assert (np.diff(signal) < 0).all()


def test_zero_terminal_snr_ends_without_signal_and_begins_as_before() -> None:
    signal = training_signal(zero_terminal_snr=True)
    assert signal[-1] == 0
    assert signal[0] == pytest.approx(training_signal()[0])
    assert (np.diff(signal) < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40, 999, 1000])
def test_timesteps_rise_from_the_first_to_the_last(steps: int) -> None:
    timesteps = spaced_timesteps(steps)
    assert timesteps == sorted(set(timesteps))
    assert timesteps[0] == 0
    assert len(timesteps) == steps
    assert steps == 1 or timesteps[-1] == 999


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="not between"):
        spaced_timesteps(steps)


def test_all_steps_are_the_training_schedule_itself() -> None:
    sampler = SpacedDDPM.make(1000)
    np.testing.assert_allclose(sampler.signal, training_signal())
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    before = np.append(1, sampler.signal[:-1])
    np.testing.assert_allclose(sampler.variance, betas * (1 - before) / (1 - sampler.signal), rtol=1e-9)


@pytest.mark.parametrize("prediction", Prediction)
def test_the_picture_is_found_again_from_its_own_noise(prediction: Prediction) -> None:
    rng = np.random.default_rng(1)
    picture, noise = rng.normal(size=(2, 3, 5))
    sampler = SpacedDDPM.make(5, prediction)
    for index, signal in enumerate(sampler.signal):
        noisy = signal**0.5 * picture + (1 - signal) ** 0.5 * noise
        velocity = signal**0.5 * noise - (1 - signal) ** 0.5 * picture
        predicted = {Prediction.EPS: noise, Prediction.V: velocity, Prediction.CLEAN: picture}[prediction]
        np.testing.assert_allclose(sampler.clean(noisy, predicted, index), picture, atol=1e-12)


def test_a_step_keeps_the_marginals_of_the_forward_process() -> None:
    """With the true noise predicted, mean and variance of the next state are those of adding noise to the picture."""
    sampler = SpacedDDPM.make(10)
    picture, noise, index = 0.7, -1.3, 6
    signal, before = sampler.signal[index], sampler.signal[index - 1]
    noisy = signal**0.5 * picture + (1 - signal) ** 0.5 * noise
    mean = sampler.step(noisy, noise, index, 0.0)
    weight_of_noise = (mean - before**0.5 * picture) / noise
    assert weight_of_noise**2 + sampler.variance[index] == pytest.approx(1 - before)


def test_the_last_step_adds_no_noise_and_gives_the_predicted_picture() -> None:
    sampler = SpacedDDPM.make(3)
    noisy, predicted = np.array([0.5]), np.array([0.2])
    np.testing.assert_allclose(sampler.step(noisy, predicted, 0, np.array([99.0])), sampler.clean(noisy, predicted, 0))


def test_the_first_step_without_signal_rests_on_the_prediction_alone() -> None:
    sampler = SpacedDDPM.make(4, Prediction.V, zero_terminal_snr=True)
    constants = (sampler.variance, sampler.from_clean, sampler.from_noisy)
    assert all(np.isfinite(values).all() for values in constants)
    assert sampler.clean(np.array([3.0]), np.array([0.4]), 3) == pytest.approx(-0.4)


def test_noise_cannot_be_predicted_where_there_is_nothing_else() -> None:
    with pytest.raises(ValueError, match="noise"):
        SpacedDDPM.make(4, Prediction.EPS, zero_terminal_snr=True)


def test_tensors_stay_tensors_of_their_own_precision() -> None:
    noisy, predicted, noise = torch.randn(3, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    stepped = SpacedDDPM.make(3).step(noisy, predicted, 2, noise)
    assert stepped.dtype == torch.float32
    expected = SpacedDDPM.make(3).step(noisy.double().numpy(), predicted.double().numpy(), 2, noise.double().numpy())
    np.testing.assert_allclose(stepped, expected, atol=1e-4)
