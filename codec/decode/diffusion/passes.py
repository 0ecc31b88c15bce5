"""What a request's passes are, by its schedule. Needs no PyTorch."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from codec.decode.diffusion.sampling import Sampling
from codec.decode.maps import scale_map
from codec.decode.restore import RestoreRequest
from codec.errors import OptionError
from codec.options import DecodeOptions, DecodeStage, MaskEdges, Schedule, Solver
from codec.working_size import WorkingSize

NEGATIVE_TEXT = "Blurry, Low Quality"
"""What MISC's published decoder steers away from in every pass."""

_ITEM_STAGES = (DecodeStage.ITEM_1, DecodeStage.ITEM_2, DecodeStage.ITEM_3)
"""In the order of the items' passes."""

_NOISIEST, _CFG_POWER = 1000, 5.0
"""DiffBIR v2.1's `get_cfg_scale`: how late the guidance grows."""

_ITEM_SHARE = 0.5
"""How much an item's own text holds inside its map in the fast schedule. The overall text keeps the other half, because
it names what surrounds the item and how all of it looks."""

Map = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pass:
    """One way from noise to a picture.

    `texts`: the first holds everywhere, the others inside the map at the same place of `regions`. `blend`: the map
    inside which the result replaces the picture; None for all of it. `pads_with_zeros`: or by repeating the edge.
    `negative_text`: what guidance leads away from. `ends_cleaned`: the result is what stage 1 makes of the
    picture. `guided_from`, `guided_to`: the noisiest and the cleanest timestep with guidance (Kynkäänniemi et al.,
    arXiv 2404.07724).
    """

    texts: tuple[str, ...]
    steps: int
    guidance: float
    solver: Solver
    regions: tuple[Map, ...] = ()
    blend: Map | None = None
    pads_with_zeros: bool = True
    negative_text: str = NEGATIVE_TEXT
    rescales_guidance: bool = False
    guided_from: int = _NOISIEST
    guided_to: int = 0
    ends_cleaned: bool = False

    def guidance_at(self, time: int) -> float:
        """The guidance at a timestep of training; with `rescales_guidance` 1 in pure noise, and 1 more at the end.

        1 is none: the unguided half cancels out, and need not be evaluated.
        """
        if not self.guided_to <= time <= self.guided_from:
            return 1.0
        if not self.rescales_guidance or self.guidance <= 1:
            return self.guidance
        grown = (1 - math.cos(math.pi * ((_NOISIEST - time) / _NOISIEST) ** _CFG_POWER)) / 2
        return 1 + self.guidance * grown


def plan_passes(request: RestoreRequest, sampling: Sampling) -> tuple[Pass, ...]:
    """The passes of a request, in order. `steps` and `guidance` of its options are those of the last one.

    `sampling`: what the networks want where the options do not say.
    Raises OptionError for a sampler that cannot do the number of steps, and for a stage that the stream has not.
    """
    options = request.options
    passes = tuple(_prompted(each, options) for each in _of_schedule(request, sampling))
    if options.stage is DecodeStage.CLEAN:
        return (replace(passes[0], ends_cleaned=True),)
    if options.stage in _ITEM_STAGES:
        wanted = _ITEM_STAGES.index(options.stage) + 1
        if wanted >= len(passes):
            raise OptionError(
                f"stage: the stream has maps of {len(passes) - 1} items, and none ends as {options.stage}."
            )
        passes = passes[:wanted]
    for each in passes:
        if each.solver is Solver.DDPM and each.steps < 2:
            raise OptionError("steps: the solver ddpm needs at least 2; take 2 or more, or another solver.")
    return passes


def _of_schedule(request: RestoreRequest, sampling: Sampling) -> tuple[Pass, ...]:
    options, texts = request.options, request.texts
    if options.schedule is Schedule.STAGED:
        solver = options.solver or Solver.DDPM
        items = tuple(
            Pass((detail,), sampling.item_steps, sampling.item_guidance, solver, blend=mask)
            for detail, mask in zip(texts.details, request.maps, strict=False)
        )
        last = Pass((texts.overall,), *_asked(request, sampling.overall_steps, sampling), solver)
        return (*items, last)
    shown = [pair for pair in zip(texts.details, request.maps, strict=False) if pair[0] and pair[1].any()]
    fused = Pass(
        (texts.overall, *(detail for detail, _ in shown)),
        *_asked(request, sampling.fast_steps, sampling),
        options.solver or Solver.DPMPP_2M,
        regions=tuple(mask for _, mask in shown),
        pads_with_zeros=False,
    )
    return (fused,)


def _asked(request: RestoreRequest, steps: int, sampling: Sampling) -> tuple[int, float]:
    guidance = request.options.guidance
    return request.options.steps or steps, sampling.overall_guidance if guidance is None else guidance


def _prompted(planned: Pass, options: DecodeOptions) -> Pass:
    """The pass with the caller's own words around the stream's."""
    added = options.positive_prompt
    return replace(
        planned,
        texts=tuple(", ".join(filter(None, (text, added))) for text in planned.texts),
        negative_text=NEGATIVE_TEXT if options.negative_prompt is None else options.negative_prompt,
        rescales_guidance=options.rescale_cfg,
        guided_from=options.guidance_from,
        guided_to=options.guidance_to,
    )


def region_weights(
    regions: tuple[Map, ...], size: WorkingSize, unit_px: int, edges: MaskEdges = MaskEdges.SOFT
) -> npt.NDArray[np.float32] | None:
    """How much each text of a pass holds where: (1 + regions, padded height, padded width) / `unit_px`, adding up to 1.

    Where maps overlap their items share what an item has. None where there are no regions.
    """
    if not regions:
        return None
    rows, columns = size.padded_height // unit_px, size.padded_width // unit_px
    weights = np.zeros((1 + len(regions), rows, columns), np.float32)
    inner_rows, inner_columns = -(-size.height // unit_px), -(-size.width // unit_px)
    for index, mask in enumerate(regions, 1):
        weights[index, :inner_rows, :inner_columns] = scale_map(mask, inner_columns, inner_rows, edges)
    strongest, together = weights[1:].max(axis=0), weights[1:].sum(axis=0)
    weights[1:] *= _ITEM_SHARE * strongest / np.maximum(together, np.finfo(np.float32).tiny)
    weights[0] = 1 - weights[1:].sum(axis=0)
    return weights
