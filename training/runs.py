"""A training run that can be stopped at any moment and goes on where it was. Knows no network and no data."""

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from codec.nets.loading.int8 import from_int8

_WARM_UP = 0.02
"""Share of a run in which the learning rate rises, because Adam's first steps know nothing of the gradients' sizes."""

_AVERAGING = 0.999
"""Of the weights' running mean, which is what is released: it is some tenths of a decibel better than the last step."""


def weights_from(path: Path) -> dict[str, torch.Tensor]:
    """The tensors to start from: the last ones of a run's folder, or those of a released file."""
    if path.is_dir():
        kept: dict[str, dict[str, torch.Tensor]] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        return kept["network"]
    return from_int8({key: value for key, value in load_file(path).items() if value.dtype != torch.int32})


@dataclass
class Run:
    """One run in a folder: `state.pt` to go on from, `log.jsonl` with a line every `log_every` steps.

    It ends after `steps` steps or `minutes` minutes of training, whichever comes first, and the learning rate falls
    along a cosine to a hundredth by then.
    """

    folder: Path
    network: nn.Module
    optimisers: dict[str, torch.optim.Optimizer]
    steps: int
    minutes: float
    seed: int
    log_every: int = 50
    save_every_seconds: float = 120.0
    step: int = 0
    seconds: float = 0.0
    _mark: float = 0.0
    _rates: dict[str, float] = field(default_factory=dict)
    _sums: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take up what the folder holds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rates = {name: each.param_groups[0]["lr"] for name, each in self.optimisers.items()}
        self.averaged = {key: value.detach().clone().float() for key, value in self.network.state_dict().items()}
        state = self.folder / "state.pt"
        if state.is_file():
            kept = torch.load(state, map_location="cpu", weights_only=True)
            self.network.load_state_dict(kept["network"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(kept["optimisers"][name])
            device = next(self.network.parameters()).device
            self.averaged = {key: value.to(device) for key, value in kept["averaged"].items()}
            self.step, self.seconds = kept["step"], kept["seconds"]
        self._saved = time.monotonic()

    @property
    def progress(self) -> float:
        """How much of the run is over, in [0, 1]."""
        return min(1.0, max(self.step / self.steps, self.seconds / (60 * self.minutes)))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.progress >= 1.0

    @property
    def random(self) -> np.random.Generator:
        """The source of this step's choices; a run that was stopped goes on with those it would have had."""
        return np.random.default_rng((self.seed, self.step))

    def before_step(self) -> None:
        """Set this step's learning rates. From here on time counts: what was loaded before was no training."""
        self._mark = time.monotonic()
        progress = self.progress
        share = 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
        share *= min(1.0, (progress + 1e-4) / _WARM_UP)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self._rates[name] * share

    def after_step(self, **values: float) -> None:
        """Count the step, average the weights, log and save when it is time."""
        self.step += 1
        now = time.monotonic()
        self.seconds += now - self._mark
        weight = 1 - min(_AVERAGING, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.averaged[key].lerp_(value.float(), weight)
                else:
                    self.averaged[key] = value.clone()
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)
        if self.step % self.log_every == 0:
            self.log(**{name: float(np.mean(each)) for name, each in self._sums.items()})
            self._sums.clear()
        if now - self._saved > self.save_every_seconds or self.is_over:
            self.save()
            self._saved = time.monotonic()

    def log(self, **values: Any) -> None:
        """A line for the curves."""
        line = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        line |= {name: round(value, 5) for name, value in values.items()}
        print(json.dumps(line), flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Replace the state as a whole, so that a run killed meanwhile has the one before."""
        part = self.folder / "state.part"
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged,
                "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
                "step": self.step,
                "seconds": self.seconds,
            },
            part,
        )
        part.replace(self.folder / "state.pt")
