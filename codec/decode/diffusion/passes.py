"""What a request's passes are, by its schedule. Needs no PyTorch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codec.decode.diffusion.sampling import Sampling
from codec.decode.maps import scale_map
from codec.decode.restore import RestoreRequest
from codec.errors import OptionError
from codec.options import Schedule, Solver
from codec.working_size import WorkingSize

NEGATIVE_TEXT = "Blurry, Low Quality"
"""What MISC's published decoder steers away from in every pass."""

_ITEM_SHARE = 0.5
"""How much an item's own text holds inside its map in the fast schedule. The overall text keeps the other half, because
it names what surrounds the item and how all of it looks."""

Map = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pass:
    """One way from noise to a picture.

    `texts`: the first holds everywhere, the others inside the map at the same place of `regions`. `blend`: the map
    inside which the result replaces the picture; None for all of it. `pads_with_zeros`: or by repeating the edge.
    """

    texts: tuple[str, ...]
    steps: int
    guidance: float
    solver: Solver
    regions: tuple[Map, ...] = ()
    blend: Map | None = None
    pads_with_zeros: bool = True


def plan_passes(request: RestoreRequest, sampling: Sampling) -> tuple[Pass, ...]:
    """The passes of a request, in order. `steps` and `guidance` of its options are those of the last one.

    `sampling`: what the networks want where the options do not say.
    Raises OptionError for a sampler that cannot do the number of steps.
    """
    options, texts = request.options, request.texts
    if options.schedule is Schedule.STAGED:
        solver = options.solver or Solver.DDPM
        items = tuple(
            Pass((detail,), sampling.item_steps, sampling.item_guidance, solver, blend=mask)
            for detail, mask in zip(texts.details, request.maps, strict=False)
        )
        last = Pass((texts.overall,), *_asked(request, sampling.overall_steps, sampling), solver)
        return _with_enough_steps((*items, last))
    shown = [pair for pair in zip(texts.details, request.maps, strict=False) if pair[0] and pair[1].any()]
    fused = Pass(
        (texts.overall, *(detail for detail, _ in shown)),
        *_asked(request, sampling.fast_steps, sampling),
        options.solver or Solver.DPMPP_2M,
        regions=tuple(mask for _, mask in shown),
        pads_with_zeros=False,
    )
    return _with_enough_steps((fused,))


def _asked(request: RestoreRequest, steps: int, sampling: Sampling) -> tuple[int, float]:
    guidance = request.options.guidance
    return request.options.steps or steps, sampling.overall_guidance if guidance is None else guidance


def _with_enough_steps(passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
    for each in passes:
        if each.solver is Solver.DDPM and each.steps < 2:
            raise OptionError("steps: the solver ddpm needs at least 2; take 2 or more, or another solver.")
    return passes


def region_weights(regions: tuple[Map, ...], size: WorkingSize, unit_px: int) -> npt.NDArray[np.float32] | None:
    """How much each text of a pass holds where: (1 + regions, padded height, padded width) / `unit_px`, adding up to 1.

    Where maps overlap their items share what an item has. None where there are no regions.
    """
    if not regions:
        return None
    rows, columns = size.padded_height // unit_px, size.padded_width // unit_px
    weights = np.zeros((1 + len(regions), rows, columns), np.float32)
    inner_rows, inner_columns = -(-size.height // unit_px), -(-size.width // unit_px)
    for index, mask in enumerate(regions, 1):
        weights[index, :inner_rows, :inner_columns] = scale_map(mask, inner_columns, inner_rows)
    strongest, together = weights[1:].max(axis=0), weights[1:].sum(axis=0)
    weights[1:] *= _ITEM_SHARE * strongest / np.maximum(together, np.finfo(np.float32).tiny)
    weights[0] = 1 - weights[1:].sum(axis=0)
    return weights
