"""How a set of networks is sampled where the caller does not say. Needs no PyTorch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """The defaults are those of Stable Diffusion steered by DiffBIR.

    The steps and guidances of the staged schedule, for an item's pass and for the overall one, are MISC's (the
    `sr_pipe` calls of its published notebook). `fast_steps`: network evaluations of the fast schedule. `first_time`:
    the timestep of training that a pass begins at.
    """

    fast_steps: int = 12
    item_steps: int = 3
    item_guidance: float = 3.5
    overall_steps: int = 40
    overall_guidance: float = 7.0
    first_time: int = 999
