"""What a decode costs, from its options and the picture's size before anything is done. Needs no PyTorch."""

from dataclasses import dataclass

from codec.errors import DecodeTooCostly
from codec.limits import MAX_ITEMS
from codec.options import DecodeOptions, Profile, RestorerName, Schedule
from codec.working_size import WorkingSize

_STAGES = 3
"""Cleaning, encoding and decoding look at every pixel once, beside the steps."""


_DRAWN_STEP = 3
"""Evaluations of a step that is drawn to the coarse picture: it decodes and goes the way back, twice as far."""


@dataclass(frozen=True)
class ProfileCosts:
    """How a profile is sampled and how large its pictures are made, where the options do not say.

    The same figures are in `codec.decode.diffusion`, beside networks that services do not load.
    """

    res_px: int
    multiple_px: int
    fast_steps: int
    item_steps: int
    item_guidance: float
    overall_steps: int
    overall_guidance: float


PROFILE_COSTS = {
    Profile.LITE: ProfileCosts(64, 16, 1, 3, 1.0, 40, 1.0),
    Profile.SD21: ProfileCosts(1024, 64, 12, 3, 3.5, 40, 7.0),
}


@dataclass(frozen=True)
class DecodeLimits:
    """The most that one decode may cost: pixels of the picture, and pixels that networks evaluate."""

    pixels: int
    evaluated_pixels: int

    def check(self, options: DecodeOptions, width: int, height: int) -> None:
        """Raise DecodeTooCostly for an order beyond the limits; restorers without networks cost little."""
        if options.restorer_name in (RestorerName.SMOOTH, RestorerName.NONE):
            return
        if width * height > self.pixels:
            raise DecodeTooCostly(
                f"Restoring {width} x {height} pixels by networks is more than the {_mega(self.pixels)} megapixels "
                f"that are taken here; order it with the restorer smooth."
            )
        evaluated = evaluated_pixels(options, width, height)
        if evaluated > self.evaluated_pixels:
            raise DecodeTooCostly(
                f"This order would have networks evaluate {_mega(evaluated)} megapixels; at most "
                f"{_mega(self.evaluated_pixels)} are taken here. Take the schedule fast, fewer steps or a smaller res."
            )


def evaluated_pixels(options: DecodeOptions, width: int, height: int) -> int:
    """Network evaluations x pixels of each, of a picture with as many items as a stream may have; 0 without networks.

    With a guidance other than 1 a step is two evaluations.
    """
    match options.restorer_name:
        case RestorerName.SMOOTH | RestorerName.NONE:
            return 0
        case RestorerName.GAN:
            return width * height
    costs = PROFILE_COSTS[options.profile]
    size = WorkingSize.of(width, height, options.res or costs.res_px, costs.multiple_px)
    guidance = costs.overall_guidance if options.guidance is None else options.guidance
    drawn = _DRAWN_STEP if options.coarse_guidance else 0
    if options.schedule is Schedule.STAGED:
        own_steps = options.steps or costs.overall_steps
        item_evaluations = MAX_ITEMS * costs.item_steps * (_evaluations_of_step(costs.item_guidance) + drawn)
    else:
        own_steps, item_evaluations = options.steps or costs.fast_steps, 0
    evaluations = own_steps * (_evaluations_of_step(guidance) + drawn) + item_evaluations + _STAGES
    return evaluations * size.padded_pixels


def _evaluations_of_step(guidance: float) -> int:
    return 1 if guidance == 1 else 2


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:,.0f}"
