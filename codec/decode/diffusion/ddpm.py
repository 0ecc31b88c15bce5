"""The ancestral sampler of guided diffusion over a few of the training's steps, as DiffBIR uses it.

Only numbers and one update: it calls no network, draws no noise and works on NumPy arrays and PyTorch tensors alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.nets.diffbir.config import Prediction

TRAINING_STEPS = 1000
"""Noise levels that Stable Diffusion was trained on."""

_FIRST_BETA, _LAST_BETA = 0.00085, 0.012
"""The two ends of Stable Diffusion's schedule, whose square roots grow evenly between them."""

Schedule = npt.NDArray[np.float64]


def training_signal(zero_terminal_snr: bool = False) -> Schedule:
    """How much of the picture's variance is left at each of the training's steps, (1000,), falling.

    With `zero_terminal_snr` the square roots are shifted and scaled so that nothing is left at the last step (Lin et
    al., arXiv 2305.08891, algorithm 1), as in DiffBIR v2.1.
    """
    betas = np.linspace(_FIRST_BETA**0.5, _LAST_BETA**0.5, TRAINING_STEPS) ** 2
    signal: Schedule = np.cumprod(1.0 - betas)
    if not zero_terminal_snr:
        return signal
    root = np.sqrt(signal)
    shifted: Schedule = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return shifted**2


def spaced_timesteps(steps: int, first_time: int = TRAINING_STEPS - 1) -> list[int]:
    """`steps` of the training's timesteps, rising, evenly spread from the cleanest to `first_time`.

    Rounds a running sum as guided-diffusion's `space_timesteps` does, because other ways differ by one here and
    there. Raises ValueError beyond 1 to 1000 steps.
    """
    if not 1 <= steps <= TRAINING_STEPS:
        raise ValueError(f"{steps} steps are not between 1 and {TRAINING_STEPS}")
    stride = first_time / (steps - 1) if steps > 1 else 1.0
    timesteps, position = [], 0.0
    for _ in range(steps):
        timesteps.append(round(position))
        position += stride
    return timesteps


@dataclass(frozen=True)
class SpacedDDPM:
    """The constants of a sampler with fewer steps, each (steps,) in float64, indexed from the cleanest step.

    `timesteps` are the network's inputs. `variance` is the smaller of the two that DDPM allows (`fixed_small`);
    `from_clean` and `from_noisy` weigh the predicted picture and the present one in the next mean (Ho et al., arXiv
    2006.11239, equation 7).
    """

    timesteps: npt.NDArray[np.int32]
    signal: Schedule
    variance: Schedule
    from_clean: Schedule
    from_noisy: Schedule
    prediction: Prediction = Prediction.EPS

    @classmethod
    def make(
        cls,
        steps: int,
        prediction: Prediction = Prediction.EPS,
        zero_terminal_snr: bool = False,
        first_time: int = TRAINING_STEPS - 1,
    ) -> "SpacedDDPM":
        """The sampler with this many steps, of which the noisiest is at `first_time`.

        A schedule that ends without signal needs a network that does not predict the noise.
        """
        if zero_terminal_snr and prediction is Prediction.EPS:
            raise ValueError("a picture cannot be worked out from its noise where none of it is left")
        timesteps = spaced_timesteps(steps, first_time)
        signal = training_signal(zero_terminal_snr)[timesteps]
        before = np.append(1.0, signal[:-1])
        kept = signal / before
        return cls(
            timesteps=np.array(timesteps, dtype=np.int32),
            signal=signal,
            variance=(1.0 - kept) * (1.0 - before) / (1.0 - signal),
            from_clean=(1.0 - kept) * np.sqrt(before) / (1.0 - signal),
            from_noisy=(1.0 - before) * np.sqrt(kept) / (1.0 - signal),
            prediction=prediction,
        )

    def clean(self, noisy: Any, predicted: Any, index: int) -> Any:
        """The picture that a network's output implies at step `index`; arrays of one shape."""
        signal = float(self.signal[index])
        if self.prediction is Prediction.CLEAN:
            return predicted
        if self.prediction is Prediction.V:
            return signal**0.5 * noisy - (1.0 - signal) ** 0.5 * predicted
        return (1.0 / signal) ** 0.5 * noisy - (1.0 / signal - 1.0) ** 0.5 * predicted

    def step(self, noisy: Any, predicted: Any, index: int, noise: Any) -> Any:
        """From step `index` to the next cleaner one. `noise`: standard normal; not used at the last step, index 0."""
        mean = float(self.from_clean[index]) * self.clean(noisy, predicted, index)
        mean = mean + float(self.from_noisy[index]) * noisy
        return mean if index == 0 else mean + float(self.variance[index]) ** 0.5 * noise
