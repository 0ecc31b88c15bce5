"""The restorer by diffusion: evaluates the network calls of its requests, many requests in one evaluation.

It knows nothing of schedules and tiles, which are the requests' own, nor of files that networks come from.
"""

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL import Image

from codec.decode.diffusion.coarse_guidance import pull
from codec.decode.diffusion.memory import call_budget_bytes, free_host_bytes, is_exhaustion, release
from codec.decode.diffusion.networks import Networks, Stage
from codec.decode.diffusion.passes import plan_passes
from codec.decode.diffusion.preview import LatentColours
from codec.decode.diffusion.state import TILED, DiffusionState, NetworkCall
from codec.decode.diffusion.tiles import smallest_tile_pixels
from codec.decode.restore import RestoreRequest, run_to_end
from codec.errors import OutOfMemory
from codec.working_size import WorkingSize

_TILE_EDGES_PX = (256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048)
"""Edges of square tiles to choose from. Few, so that a little more or less free memory seldom changes the tiles, which
would change the picture."""

_LARGEST_EDGE_PX = {Stage.CLEAN: 2048, Stage.ENCODE: 2048, Stage.DIFFUSE: 1536, Stage.GUIDE: 1536, Stage.DECODE: 2048}
"""Larger ones gain nothing: attention grows with the square of a tile, and Stable Diffusion repeats itself when
it sees much more than the 512 pixels that it was trained on."""

_HOST_BYTES_PER_PX = 64
"""Of main memory for each pixel at the working size: two float32 pictures, and a few of 8 bits; 59 were measured as the
growth of a process's peak memory over a picture of 12 megapixels, with networks that take none."""


class _Step(NamedTuple):
    """A state and the call that advances it, built once a step."""

    state: DiffusionState
    call: NetworkCall


class DiffusionRestorer:
    """Restores by diffusion with `networks`. One instance serves all requests of a process, from several threads.

    Tiles are as large as the memory that is free when it is made allows. `tile_px` fixes the edge of the largest tile
    instead, which makes pictures independent of what else runs on the machine.
    """

    name = "diffusion"
    generative = True
    weights: Mapping[str, str] = MappingProxyType({})

    def __init__(self, networks: Networks, *, tile_px: int | None = None) -> None:
        self._networks = networks
        self._colours = LatentColours.fit(networks)
        self._budget_bytes = call_budget_bytes(networks.device)
        self._tile_px = tile_px

    def begin(self, request: RestoreRequest) -> DiffusionState:
        """Raises OptionError for steps that a sampler cannot do, and OutOfMemory before any memory is taken."""
        networks = self._networks
        passes = plan_passes(request, networks.sampling)
        height, width = request.coarse.shape[:2]
        size = WorkingSize.of(width, height, request.options.res or networks.res_px, networks.multiple_px)
        needed, free = _HOST_BYTES_PER_PX * size.padded_pixels, free_host_bytes()
        if needed > free:
            raise OutOfMemory(
                f"Restoring {size.padded_width} x {size.padded_height} pixels needs {needed >> 20} MB of main memory; "
                f"{free >> 20} MB are free."
            )
        samples = max(1 if each.guidance == 1 else 2 for each in passes)
        tiles = {stage: self._max_tile_pixels(stage, samples if stage is Stage.DIFFUSE else 1) for stage in TILED}
        return DiffusionState(request, passes, size, networks, self._colours, tiles)

    def step(self, states: Sequence[DiffusionState]) -> None:
        """One call of a network for each state: one tile of one stage, so that no step is long.

        States that denoise tiles of one shape share a call. A state that cannot go on keeps the reason as its
        `failure` - OutOfMemory when its smallest tile does not fit - and all others are advanced.
        """
        batches: dict[object, list[_Step]] = defaultdict(list)
        with torch.inference_mode():
            for state in states:
                if state.failure is None and not state.is_done:
                    try:
                        step = _Step(state, state.next_call())
                    except Exception as error:  # noqa: BLE001 - it ends its own request, never a neighbour's
                        _fail(state, state.stage, error)
                    else:
                        batches[step.call.batch_key or id(state)].append(step)
            for batch in batches.values():
                self._advance(batch)

    def finish(self, state: DiffusionState) -> Image.Image:
        """The restored picture; takes the steps that have not been taken. Raises OutOfMemory, and what ended a step."""
        run_to_end(self, state)
        try:
            return state.picture
        except Exception as error:
            if is_exhaustion(error):
                raise _too_small(Stage.DECODE) from None
            raise

    def _max_tile_pixels(self, stage: Stage, samples: int) -> int:
        if self._tile_px is not None:
            return self._tile_px**2
        fitting = math.isqrt(int(self._budget_bytes / (self._networks.bytes_per_px[stage] * samples)))
        edges = [edge for edge in _TILE_EDGES_PX if edge <= min(fitting, _LARGEST_EDGE_PX[stage])]
        return edges[-1] ** 2 if edges else smallest_tile_pixels(self._networks.multiple_px)

    def _advance(self, batch: Sequence[_Step]) -> None:
        """Advance states whose calls can be one evaluation, in as few evaluations as memory allows."""
        begun = time.perf_counter()
        outputs, error = self._outputs(batch)
        if outputs is None:
            # Outside of the error's handler, whose traceback holds on to what did not fit.
            release(self._networks.device)
            self._advance_in_pieces(batch, error)
            return
        for step, output in zip(batch, outputs, strict=True):
            try:
                step.state.apply_output(output)
            except Exception as fault:  # noqa: BLE001 - it ends its own request, never a neighbour's
                _fail(step.state, step.call.stage, fault)
            spent = step.state.seconds.get(step.call.stage, 0.0) + time.perf_counter() - begun
            step.state.seconds[step.call.stage] = spent

    def _advance_in_pieces(self, batch: Sequence[_Step], error: Exception | None) -> None:
        """Halve a batch that did not fit or failed with `error`, down to the request that is the cause."""
        state = batch[0].state
        if len(batch) > 1:
            half = len(batch) // 2
            self._advance(batch[:half])
            self._advance(batch[half:])
        elif error is not None:
            state.failure = error
        elif state.shrink():
            self._advance([_Step(state, state.next_call())])
        else:
            state.failure = _too_small(state.stage)

    def _fits(self, calls: Sequence[NetworkCall]) -> bool:
        """Whether several requests together stay within what one call may take; one alone is always tried."""
        if len(calls) == 1:
            return True
        pixels = sum(call.values[:, 0].numel() for call in calls if call.values is not None)
        needed = pixels * self._networks.latent_px**2 * self._networks.bytes_per_px[Stage.DIFFUSE]
        return needed <= self._budget_bytes

    def _outputs(self, batch: Sequence[_Step]) -> tuple[list[torch.Tensor] | None, Exception | None]:
        """The network's output for each call, or None and what went wrong, which is None where memory is too small.

        The device is not waited for: on a GPU a call's seconds count where its output is first needed.
        """
        calls = [step.call for step in batch]
        if not self._fits(calls):
            return None, None
        try:
            return self._evaluate(calls), None
        except Exception as error:  # noqa: BLE001 - it ends the requests that cause it, never their neighbours
            return None, None if is_exhaustion(error) else error

    def _evaluate(self, calls: Sequence[NetworkCall]) -> list[torch.Tensor]:
        first = calls[0]
        if first.stage is Stage.EMBED:
            return [self._networks.embed(first.texts)]
        values = _joined([call.values for call in calls])
        if first.target is not None:
            return [pull(self._networks.decode, values, first.target, first.samples)]
        if first.stage is not Stage.DIFFUSE:
            run = {Stage.CLEAN: self._networks.clean, Stage.ENCODE: self._networks.encode}
            return [run.get(first.stage, self._networks.decode)(values)]
        predicted = self._networks.predict(
            values,
            _joined([call.times for call in calls]),
            _joined([call.vectors for call in calls]),
            _joined([call.condition for call in calls]),
            first.strength,
            None if first.regions is None else _joined([call.regions for call in calls]),
        )
        return list(torch.split(predicted, [len(call.values) for call in calls if call.values is not None]))


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor:
    present = [part for part in parts if part is not None]
    return present[0] if len(present) == 1 else torch.cat(present)


def _fail(state: DiffusionState, stage: Stage, error: Exception) -> None:
    state.failure = _too_small(stage) if is_exhaustion(error) else error


def _too_small(stage: Stage) -> OutOfMemory:
    return OutOfMemory(
        f"Memory ran out in the stage {stage} even with the smallest tiles. Decode fewer pictures at a time, take a "
        f"smaller res, or free memory on the device."
    )
