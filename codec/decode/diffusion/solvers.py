"""Samplers as per-request state machines: each yields the next (timestep, latents) and consumes the prediction.

They evaluate no network. Each request has its own, because requests that share a call are at different timesteps.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from codec.decode.diffusion.ddpm import TRAINING_STEPS, SpacedDDPM, training_signal
from codec.nets.diffbir.config import Prediction
from codec.options import Solver

_KNOTS = (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0)
"""Timesteps of ten evaluations and of the end with which DPM-Solver++ strays least from the exact path (Sabour et al.,
"Align Your Steps", arXiv 2404.14507; the list for Stable Diffusion in diffusers' `AysSchedules`)."""


class Trajectory(Protocol):
    """One pass from noise to a clean latent."""

    steps: int
    """Network evaluations from noise to the end."""
    steps_done: int
    latents: torch.Tensor
    """Where the pass stands, (1, C, h, w) float32; the result once `steps` are done."""
    clean: torch.Tensor | None
    """The clean latents that the last prediction implied; for previews."""

    @property
    def time(self) -> int:
        """The timestep of training of the next evaluation."""

    def clean_of(self, predicted: torch.Tensor) -> torch.Tensor:
        """The clean latents that this prediction for `latents` at `time` implies."""

    def advance(self, predicted: torch.Tensor, pull: torch.Tensor | None = None) -> None:
        """Go one step, given the prediction for `latents` at `time`, and by `pull` beside the way.

        Moving a step's end is what DiffBIR does by moving its clean latents: there the weight that these have in the
        step is divided out.
        """


def start(
    solver: Solver,
    steps: int,
    condition: torch.Tensor,
    generator: torch.Generator,
    prediction: Prediction,
    zero_terminal_snr: bool,
    first_time: int = TRAINING_STEPS - 1,
) -> Trajectory:
    """A new pass whose latents have the shape of `condition`; all its noise comes from `generator`, on the CPU.

    It begins at the timestep `first_time` of training: below the noisiest one from the noised condition.
    """
    noise = _draw(condition, generator)
    is_partial = first_time < TRAINING_STEPS - 1
    if solver is Solver.DDPM:
        sampler = SpacedDDPM.make(steps, prediction, zero_terminal_snr, first_time)
        latents = _noised(condition, noise, sampler.signal[-1]) if is_partial else noise
        return AncestralTrajectory(sampler, latents, generator)
    times = ode_times(steps, first_time)
    signal = training_signal(zero_terminal_snr)[times]
    # Where some of the picture is left at the noisiest level, solvers without new noise never make up for a start
    # without any; DiffBIR starts them from the noised condition for that reason (`start_point_type` of its
    # inference.py). With a terminal signal of zero this is the noise alone.
    latents = _noised(condition, noise, signal[0])
    return ODETrajectory(solver, times, signal, latents, prediction)


def ode_times(steps: int, first_time: int = TRAINING_STEPS - 1) -> list[int]:
    """`steps` timesteps of training, falling from `first_time`, by interpolation between the published ten.

    Where there are more steps than timesteps for them, some follow each other at the same one.
    """
    positions = np.arange(steps) * (len(_KNOTS) - 1) / steps
    knots = np.array(_KNOTS) * (first_time / _KNOTS[0])
    times: list[int] = np.rint(np.interp(positions, range(len(knots)), knots)).astype(int).tolist()
    return times


class AncestralTrajectory:
    """DiffBIR's spaced DDPM with the smaller variance; `latents` are where it begins, pure noise as published."""

    def __init__(self, sampler: SpacedDDPM, latents: torch.Tensor, generator: torch.Generator) -> None:
        self._sampler = sampler
        self._generator = generator
        self.steps = len(sampler.timesteps)
        self.steps_done = 0
        self.latents = latents
        self.clean: torch.Tensor | None = None

    @property
    def time(self) -> int:
        """The next timestep."""
        return int(self._sampler.timesteps[self.steps - 1 - self.steps_done])

    def clean_of(self, predicted: torch.Tensor) -> torch.Tensor:
        """As the sampler has it."""
        clean: torch.Tensor = self._sampler.clean(self.latents, predicted, self.steps - 1 - self.steps_done)
        return clean

    def advance(self, predicted: torch.Tensor, pull: torch.Tensor | None = None) -> None:
        """One ancestral step; the last one adds no noise."""
        index = self.steps - 1 - self.steps_done
        self.clean = self.clean_of(predicted)
        noise = _draw(self.latents, self._generator) if index else None
        self.latents = _pulled(self._sampler.step(self.latents, predicted, index, noise), pull)
        self.steps_done += 1


class ODETrajectory:
    """The deterministic way: Euler, DPM-Solver++(2M) and UniPC-2 with its corrector, all on predicted clean latents.

    Lu et al., arXiv 2211.01095, algorithm 2; Zhao et al., arXiv 2302.04867, B(h) = exp(h) - 1. The last step has
    order 1, because it ends without noise, where the half logarithm of the signal-to-noise ratio is infinite.
    """

    def __init__(
        self,
        solver: Solver,
        times: Sequence[int],
        signal: npt.NDArray[np.float64],
        latents: torch.Tensor,
        prediction: Prediction,
    ) -> None:
        if signal[0] == 0 and prediction is Prediction.EPS:
            raise ValueError("a picture cannot be worked out from its noise where none of it is left")
        self._solver = solver
        self._times = times
        self._picture = [*np.sqrt(signal).tolist(), 1.0]
        self._noise = [*np.sqrt(1 - signal).tolist(), 0.0]
        self._prediction = prediction
        self._history: list[torch.Tensor] = []
        self._before: torch.Tensor | None = None
        self._pull: torch.Tensor | None = None
        self.steps = len(times)
        self.steps_done = 0
        self.latents = latents
        self.clean: torch.Tensor | None = None

    @property
    def time(self) -> int:
        """The next timestep."""
        return self._times[self.steps_done]

    def clean_of(self, predicted: torch.Tensor) -> torch.Tensor:
        """By what the network predicts."""
        picture, noise = self._picture[self.steps_done], self._noise[self.steps_done]
        if self._prediction is Prediction.CLEAN:
            return predicted
        if self._prediction is Prediction.V:
            return picture * self.latents - noise * predicted
        return (self.latents - noise * predicted) / picture

    def advance(self, predicted: torch.Tensor, pull: torch.Tensor | None = None) -> None:
        """From the present noise level to the next."""
        here, clean = self.steps_done, self.clean_of(predicted)
        if self._solver is Solver.UNIPC and self._before is not None:
            self.latents = _pulled(self._corrected(self._before, clean), self._pull)
        self._before, self._pull = self.latents, pull
        self._history = [*self._history[-1:], clean]
        # Slopes are those of the predictions; a pull that entered them would be carried on for another step.
        self.latents = _pulled(self._predicted(here), pull)
        self.clean = clean
        self.steps_done += 1

    def _predicted(self, here: int) -> torch.Tensor:
        """The latents at the next level, from what is known at this one."""
        clean = self._history[-1]
        if self._slope_is_known(here):
            span = self._half_log_snr(here + 1) - self._half_log_snr(here)
            before = self._half_log_snr(here) - self._half_log_snr(here - 1)
            clean = clean + (clean - self._history[-2]) * (span / (2 * before))
        return self._moved(self.latents, here, clean)

    def _corrected(self, before: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """The present latents once more, given the prediction for them.

        `before`: the latents one level up, of which the prediction was made. The weights solve the order conditions
        of the paper's equation 9 for the points that the prediction used and the present one.
        """
        level = self.steps_done - 1
        last = self._history[-1]
        if not self._slope_is_known(level):
            return self._moved(before, level, last + (clean - last) / 2)
        span = self._half_log_snr(level + 1) - self._half_log_snr(level)
        reach = (self._half_log_snr(level - 1) - self._half_log_snr(level)) / span
        phi_1 = math.expm1(-span)
        phi_2 = phi_1 / -span - 1
        phi_3 = phi_2 / -span - 1 / 2
        conditions = np.array([phi_2 / phi_1, 2 * phi_3 / phi_1])
        share_back, share_here = np.linalg.solve(np.array([[1.0, 1.0], [reach, 1.0]]), conditions).tolist()
        slope_back = (self._history[-2] - last) / reach
        return self._moved(before, level, last + share_back * slope_back + share_here * (clean - last))

    def _slope_is_known(self, level: int) -> bool:
        """Whether a step from this level can have order 2."""
        if self._solver is Solver.EULER or level == 0 or level + 1 == self.steps:
            return False
        # Many evaluations over few timesteps come to the same one twice, between which there is no slope.
        above, here, below = self._picture[level - 1 : level + 2]
        return 0 < above < here < below

    def _moved(self, latents: torch.Tensor, level: int, clean: torch.Tensor) -> torch.Tensor:
        """One level down along the straight line from `latents` to `clean`."""
        kept = self._noise[level + 1] / self._noise[level]
        return kept * latents + (self._picture[level + 1] - kept * self._picture[level]) * clean

    def _half_log_snr(self, level: int) -> float:
        return math.log(self._picture[level] / self._noise[level])


def _pulled(latents: torch.Tensor, pull: torch.Tensor | None) -> torch.Tensor:
    return latents if pull is None else latents + pull


def _noised(clean: torch.Tensor, noise: torch.Tensor, signal: float) -> torch.Tensor:
    """Latents of which `signal`, a share of the variance, is `clean`."""
    return math.sqrt(signal) * clean + math.sqrt(1 - signal) * noise


def _draw(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise, drawn on the CPU so that it does not depend on the device or on who shares a batch."""
    noise = torch.randn(like.shape, generator=generator, dtype=torch.float32)
    if like.device.type == "cuda":
        # Only from pinned memory does a copy not wait for the device.
        noise = noise.pin_memory()
    return noise.to(like.device, non_blocking=True)
