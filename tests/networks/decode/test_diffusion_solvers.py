"""Our solvers go the same way as diffusers' schedulers, and cope with a schedule that ends without signal."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from codec.decode.diffusion.ddpm import training_signal
from codec.decode.diffusion.solvers import Trajectory, ode_times, start
from codec.nets.diffbir.config import Prediction
from codec.options import Solver

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NAMES = {Prediction.EPS: "epsilon", Prediction.V: "v_prediction", Prediction.CLEAN: "sample"}
ODE_SOLVERS = [Solver.EULER, Solver.DPMPP_2M, Solver.UNIPC]


def network(latents: torch.Tensor, time: int) -> torch.Tensor:
    """Smooth, not linear, and different at every time."""
    return 0.7 * torch.sin(1.3 * latents + time / 300) + 0.2 * latents


def begin(solver: Solver, steps: int, prediction: Prediction, *, zero: bool = False, seed: int = 1) -> Trajectory:
    condition = torch.linspace(-1, 1, 256).view(1, 4, 8, 8)
    return start(solver, steps, condition, torch.Generator().manual_seed(seed), prediction, zero)


def theirs(solver: Solver, steps: int, prediction: Prediction) -> Any:
    """diffusers' scheduler, set to our timesteps."""
    options = {**STABLE_DIFFUSION, "prediction_type": NAMES[prediction]}
    if solver is Solver.UNIPC:
        scheduler = UniPCMultistepScheduler(**options)
        scheduler.set_timesteps(steps)
        signal = training_signal()[ode_times(steps)]
        scheduler.timesteps = torch.tensor(ode_times(steps))
        scheduler.sigmas = torch.tensor([*np.sqrt((1 - signal) / signal), 0.0])
        return scheduler
    scheduler = DPMSolverMultistepScheduler(**options, solver_order=1 if solver is Solver.EULER else 2)
    scheduler.set_timesteps(timesteps=ode_times(steps))
    return scheduler


@pytest.mark.parametrize("prediction", list(Prediction))
@pytest.mark.parametrize("steps", [1, 2, 3, 12])
@pytest.mark.parametrize("solver", ODE_SOLVERS)
def test_ode_solvers_agree_with_diffusers_at_every_step(solver: Solver, steps: int, prediction: Prediction) -> None:
    ours = begin(solver, steps, prediction)
    ours.latents = ours.latents.double()
    scheduler, latents = theirs(solver, steps, prediction), ours.latents.clone()
    for time in scheduler.timesteps:
        assert ours.time == int(time)
        latents = scheduler.step(network(latents, int(time)), time, latents).prev_sample
        ours.advance(network(ours.latents, ours.time))
        assert (ours.latents - latents).abs().max() < 1e-4
    assert ours.steps_done == ours.steps == steps


@pytest.mark.parametrize("solver", list(Solver))
def test_a_pass_may_begin_below_the_noisiest_level_from_the_noised_condition(solver: Solver) -> None:
    condition = torch.linspace(-1, 1, 256).view(1, 4, 8, 8)
    generator = torch.Generator().manual_seed(1)

    ours = start(solver, 4, condition, generator, Prediction.CLEAN, False, first_time=99)

    signal = training_signal()[99]
    noise = torch.randn(condition.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(ours.latents, signal**0.5 * condition + (1 - signal) ** 0.5 * noise, atol=1e-6)
    times = []
    while ours.steps_done < ours.steps:
        times.append(ours.time)
        ours.advance(condition)
    assert times[0] == 99 and times == sorted(times, reverse=True)
    assert torch.allclose(ours.latents, condition, atol=1e-5), "the network said so at every step"


def test_the_ancestral_sampler_agrees_with_diffusers_where_both_have_the_same_steps() -> None:
    """diffusers spaces 5 steps from the end as 999, 799, ...; guided-diffusion always goes down to 0."""
    steps = 1000
    ours = begin(Solver.DDPM, steps, Prediction.EPS)
    scheduler = DDPMScheduler(**STABLE_DIFFUSION, clip_sample=False, variance_type="fixed_small")
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    assert torch.equal(ours.latents, latents)
    for time in scheduler.timesteps[:20]:
        assert ours.time == int(time)
        latents = scheduler.step(network(latents, int(time)), time, latents, generator=generator).prev_sample
        ours.advance(network(ours.latents, ours.time))
        assert (ours.latents - latents).abs().max() < 1e-4


@pytest.mark.parametrize("solver", list(Solver))
def test_a_schedule_without_signal_at_its_end_is_solved_by_velocity(solver: Solver) -> None:
    """A network that knows the picture gives back exactly that picture."""
    target = torch.linspace(0.5, -0.8, 256).view(1, 4, 8, 8).double()
    way = begin(solver, 5, Prediction.V, zero=True)
    signal = training_signal(zero_terminal_snr=True)
    while way.steps_done < way.steps:
        picture, noise = signal[way.time] ** 0.5, (1 - signal[way.time]) ** 0.5
        at_fault = (way.latents - picture * target) / noise
        way.advance(picture * at_fault - noise * target)
        assert way.clean is not None and way.clean.isfinite().all()
    # The last look is not at t = 0 where a trace of noise is left in training, so that float32 is what limits it.
    assert (way.latents - target).abs().max() < 1e-4


@pytest.mark.parametrize("solver", list(Solver))
def test_noise_cannot_be_predicted_where_nothing_else_is_left(solver: Solver) -> None:
    with pytest.raises(ValueError, match="none of it is left"):
        begin(solver, 5, Prediction.EPS, zero=True)


@pytest.mark.parametrize("steps", [1, 2, 10, 12, 50, 200])
def test_timesteps_fall_strictly_from_the_noisiest(steps: int) -> None:
    times = ode_times(steps)
    assert len(times) == steps and times[0] == 999 and times[-1] >= 0
    assert all(later < earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize("steps", [30, 50, 200])
@pytest.mark.parametrize("solver", ODE_SOLVERS)
def test_more_looks_than_timesteps_lead_to_the_same_place(solver: Solver, steps: int) -> None:
    """A way that begins at a low timestep comes to the same one several times."""
    condition = torch.linspace(-1, 1, 256).view(1, 4, 8, 8)

    def end(steps: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        way = start(solver, steps, condition, generator, Prediction.CLEAN, False, first_time=99)
        while way.steps_done < way.steps:
            way.advance(network(way.latents, way.time))
        return way.latents

    assert len(set(ode_times(steps, 99))) < steps
    assert (end(steps) - end(20)).abs().mean() < 0.02


def test_ten_timesteps_are_the_published_ones() -> None:
    assert ode_times(10) == [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]


def test_ode_solvers_start_from_the_noised_condition_and_the_ancestral_one_from_noise() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(begin(Solver.DDPM, 5, Prediction.EPS).latents, noise)
    ode = begin(Solver.UNIPC, 5, Prediction.EPS).latents
    signal = training_signal()[999]
    condition = torch.linspace(-1, 1, 256).view(1, 4, 8, 8)
    assert torch.allclose(ode, signal**0.5 * condition + (1 - signal) ** 0.5 * noise, atol=1e-6)
    assert torch.equal(begin(Solver.UNIPC, 5, Prediction.V, zero=True).latents, noise)


def test_two_orders_beat_one_at_twelve_steps() -> None:
    """Against a thousand steps, on a network whose exact way is curved."""
    signal = training_signal()
    centre = torch.linspace(-1, 1, 256).view(1, 4, 8, 8).double()

    def bent(latents: torch.Tensor, time: int) -> torch.Tensor:
        picture, noise = signal[time] ** 0.5, (1 - signal[time]) ** 0.5
        guess = torch.tanh(latents / max(picture, 0.3)) * 0.9 + 0.1 * centre
        return (latents - picture * guess) / noise

    def end(solver: Solver, steps: int) -> torch.Tensor:
        way = begin(solver, steps, Prediction.EPS)
        way.latents = way.latents.double()
        while way.steps_done < way.steps:
            way.advance(bent(way.latents, way.time))
        return way.latents

    exact = end(Solver.DPMPP_2M, 200)
    errors = {solver: float((end(solver, 12) - exact).pow(2).mean().sqrt()) for solver in ODE_SOLVERS}
    assert errors[Solver.DPMPP_2M] < errors[Solver.EULER] and errors[Solver.UNIPC] < errors[Solver.EULER]
