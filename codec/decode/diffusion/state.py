"""One request on its way through its passes, tile by tile, as a state machine: it yields the next network call and
consumes its output. It evaluates no network itself, so that many requests can be served by one call."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from codec.decode.diffusion.coarse_guidance import step_of
from codec.decode.diffusion.networks import Networks, Stage
from codec.decode.diffusion.passes import Pass, region_weights
from codec.decode.diffusion.picture import Bytes, blended, lowered, raised
from codec.decode.diffusion.preview import LatentColours
from codec.decode.diffusion.solvers import Trajectory, start
from codec.decode.diffusion.tiles import Sweep, Tiling, smallest_tile_pixels
from codec.decode.restore import RestoreRequest
from codec.options import ColourFix
from codec.working_size import WorkingSize

_PREVIEW_EDGE_PX = 512
_HOST = torch.device("cpu")

TILED = (Stage.CLEAN, Stage.ENCODE, Stage.DIFFUSE, Stage.GUIDE, Stage.DECODE)
"""The stages of a pass, in order; every step is one of DIFFUSE and, where steps are drawn, one of GUIDE."""


@dataclass(frozen=True)
class NetworkCall:
    """The inputs of one network evaluation.

    `texts` in the stage EMBED; else `values`, (S, C, H, W), and in the stage DIFFUSE also the rest, for S samples:
    the guided half, and the unguided one where there is guidance. In the stage GUIDE `target` is the picture that the
    latents are drawn to, and `samples` the number of the whole picture's.
    """

    stage: Stage
    texts: tuple[str, ...] = ()
    values: torch.Tensor | None = None
    times: torch.Tensor | None = None
    vectors: torch.Tensor | None = None
    condition: torch.Tensor | None = None
    regions: torch.Tensor | None = None
    strength: float = 1.0
    target: torch.Tensor | None = None
    samples: int = 0

    @property
    def batch_key(self) -> tuple[object, ...] | None:
        """What calls must have in common to be one evaluation; None for a call that is always made alone."""
        if self.values is None or self.vectors is None:
            return None
        return (*self.values.shape[1:], *self.vectors.shape[1:], self.regions is None, self.strength)


class DiffusionState:
    """All that is known of one request.

    `seconds`: by stage, what the calls took that this request had a part in. `max_tile_pixels`: by stage, what a tile
    may have; smaller once memory ran out. `failure`: set when the request cannot be finished.
    """

    def __init__(
        self,
        request: RestoreRequest,
        passes: tuple[Pass, ...],
        size: WorkingSize,
        networks: Networks,
        colours: LatentColours,
        max_tile_pixels: Mapping[Stage, int],
    ) -> None:
        self.seconds: dict[Stage, float] = {}
        self.failure: Exception | None = None
        self.steps_done = 0
        self.max_tile_pixels = dict(max_tile_pixels)
        self._request = request
        self._passes = passes
        self._pass_index = 0
        self._size = size
        self._networks = networks
        self._colours = colours
        # On the CPU, so that noise is the same whatever the device and whoever shares a call.
        self._generator = torch.Generator().manual_seed(request.seed)
        self._picture = request.coarse
        self._last_end: Callable[[], Bytes] | None = None
        said = [text for each in passes for text in each.texts]
        self._texts = tuple(dict.fromkeys((*said, *(each.negative_text for each in passes))))
        self._vectors: dict[str, torch.Tensor] = {}
        self._tilings = {stage: self._cut(stage) for stage in TILED}
        self._trajectory: Trajectory | None = None
        self._stage = Stage.EMBED
        self._begin_pass()
        self.steps_total = self._steps_left()

    @property
    def stage(self) -> Stage:
        """What the next step does."""
        return self._stage

    @property
    def is_done(self) -> bool:
        """Whether `picture` is finished."""
        return self._pass_index == len(self._passes)

    @property
    def batch_key(self) -> Hashable:
        """What calls of other requests must have in common with the next one to be one evaluation with it."""
        return self.next_call().batch_key if self._stage is Stage.DIFFUSE else None

    @property
    def picture(self) -> Image.Image:
        """The picture after the passes so far, at its own size. Works out the end of the last pass, once."""
        if self._last_end is not None:
            self._picture, self._last_end = self._last_end(), None
        return Image.fromarray(self._picture)

    @property
    def latents(self) -> torch.Tensor | None:
        """Where the present pass stands, once it has latents."""
        return None if self._trajectory is None else self._trajectory.latents

    def next_call(self) -> NetworkCall:
        """The network evaluation of the next step. Changes nothing."""
        if self._stage is Stage.EMBED:
            return NetworkCall(Stage.EMBED, texts=self._texts)
        tile, latent_px = self._sweep.tile, self._networks.latent_px
        if self._stage is Stage.CLEAN:
            return NetworkCall(Stage.CLEAN, values=tile.of(self._raised, 1).float() / 255)
        if self._stage is Stage.ENCODE:
            return NetworkCall(Stage.ENCODE, values=tile.of(self._cleaned, 1))
        assert self._trajectory is not None
        if self._stage is Stage.GUIDE:
            clean = tile.of(self._trajectory.clean_of(self._predicted), latent_px)
            return NetworkCall(
                Stage.GUIDE, values=clean, target=tile.of(self._cleaned, 1), samples=self._cleaned.numel()
            )
        noisy = tile.of(self._trajectory.latents, latent_px)
        if self._stage is Stage.DECODE:
            return NetworkCall(Stage.DECODE, values=noisy)
        is_guided = self._pass.guidance_at(self._trajectory.time) != 1
        vectors = self._guidance_vectors if is_guided else self._guidance_vectors[:1]
        samples = vectors.shape[0]
        regions = None
        if self._regions is not None:
            regions = tile.of(self._regions, latent_px).expand(samples, -1, -1, -1)
        return NetworkCall(
            Stage.DIFFUSE,
            values=noisy.expand(samples, -1, -1, -1),
            times=torch.full((samples,), self._trajectory.time, device=noisy.device),
            vectors=vectors,
            condition=tile.of(self._condition, latent_px).expand(samples, -1, -1, -1),
            regions=regions,
            strength=self._request.options.strength,
        )

    def apply_output(self, output: torch.Tensor) -> None:
        """Consume the output of `next_call`, and do all that follows from it until the call after it."""
        self.steps_done += 1
        if self._stage is Stage.EMBED:
            self._vectors = dict(zip(self._texts, torch.split(output, 1), strict=True))
            self._begin_stage(Stage.CLEAN)
            return
        if self._stage is Stage.DIFFUSE and output.shape[0] == 2:
            guided, unguided = torch.split(output, 1)
            assert self._trajectory is not None
            output = unguided + self._pass.guidance_at(self._trajectory.time) * (guided - unguided)
        self._sweep.add(output)
        if self._sweep.is_done:
            self._end_sweep(self._sweep.result)

    def shrink(self) -> bool:
        """Halve the edge of this stage's tiles and begin with the first again; False when they are the smallest."""
        if self._stage is Stage.EMBED:
            return False
        tile = self._tilings[self._stage][0]
        smallest = smallest_tile_pixels(self._networks.multiple_px)
        if tile.height * tile.width <= smallest:
            return False
        self.max_tile_pixels[self._stage] = max(smallest, tile.height * tile.width // 4)
        tiling = self._cut(self._stage)
        if len(tiling) <= len(self._tilings[self._stage]):
            return False
        self._tilings[self._stage] = tiling
        self._begin_stage(self._stage)
        self.steps_total = self.steps_done + self._steps_left()
        return True

    def preview(self) -> Image.Image:
        """The picture as it stands, its long edge at most about 512 pixels: of the latents where there are some.

        May be called while another thread takes a step.
        """
        picture, trajectory = self._picture, self._trajectory
        clean = None if trajectory is None else trajectory.clean
        if clean is not None:
            unit = self._networks.latent_px
            rows, columns = -(-self._size.height // unit), -(-self._size.width // unit)
            picture = self._colours.picture(clean)[:rows, :columns]
        # A coarse picture of many megapixels is thinned out first, because nobody looks at a preview that closely.
        stride = max(1, max(picture.shape[:2]) // (2 * _PREVIEW_EDGE_PX))
        small = Image.fromarray(np.ascontiguousarray(picture[::stride, ::stride]))
        small.thumbnail((_PREVIEW_EDGE_PX, _PREVIEW_EDGE_PX), Image.Resampling.BILINEAR)
        return small

    @property
    def _pass(self) -> Pass:
        return self._passes[self._pass_index]

    def _cut(self, stage: Stage) -> Tiling:
        size = self._size
        return Tiling.cut(
            size.padded_height, size.padded_width, self.max_tile_pixels[stage], self._networks.multiple_px
        )

    def _steps_left(self) -> int:
        """Calls from here to the end, as the tiles are cut now."""
        left = sum(self._calls_before(None, each) for each in self._passes[self._pass_index :])
        if self._stage is Stage.EMBED:
            return left + 1
        return left - self._calls_before(self._stage, self._pass) - self._sweep.tiles_done

    def _calls_before(self, stage: Stage | None, planned: Pass) -> int:
        """Calls of a pass before the stage that is under way in it; all of them for None."""
        tiles = {each: len(tiling) for each, tiling in self._tilings.items()}
        step = tiles[Stage.DIFFUSE] + (tiles[Stage.GUIDE] if self._is_drawn else 0)
        if planned.ends_cleaned:
            return 0 if stage is Stage.CLEAN else tiles[Stage.CLEAN]
        before = {Stage.CLEAN: 0, Stage.ENCODE: tiles[Stage.CLEAN]}
        begin = tiles[Stage.CLEAN] + tiles[Stage.ENCODE]
        done = begin + step * (self._trajectory.steps_done if self._trajectory is not None else 0)
        before |= {Stage.DIFFUSE: done, Stage.GUIDE: done + tiles[Stage.DIFFUSE]}
        before[Stage.DECODE] = begin + step * planned.steps
        return before[Stage.DECODE] + tiles[Stage.DECODE] if stage is None else before[stage]

    @property
    def _is_drawn(self) -> bool:
        return self._request.options.coarse_guidance > 0

    def _begin_pass(self) -> None:
        self._raised = raised(self._picture, self._size, pads_with_zeros=self._pass.pads_with_zeros)
        if self._stage is not Stage.EMBED:
            self._begin_stage(Stage.CLEAN)

    def _begin_stage(self, stage: Stage) -> None:
        self._stage = stage
        channels, unit, device = {
            # Whole pictures lie in main memory, where there is more of it; latents are small.
            Stage.CLEAN: (3, 1, _HOST),
            Stage.ENCODE: (self._networks.latent_channels, self._networks.latent_px, self._networks.device),
            Stage.DIFFUSE: (self._networks.latent_channels, self._networks.latent_px, self._networks.device),
            Stage.GUIDE: (self._networks.latent_channels, self._networks.latent_px, self._networks.device),
            Stage.DECODE: (3, 1, _HOST),
        }[stage]
        self._sweep = Sweep(self._tilings[stage], channels, unit, device)

    def _end_sweep(self, result: torch.Tensor) -> None:
        """All tiles of a stage are there; go on to the next stage or pass."""
        if self._stage is Stage.CLEAN:
            self._cleaned = result
            del self._raised
            if self._pass.ends_cleaned:
                self._end_pass(result)
            else:
                self._begin_stage(Stage.ENCODE)
        elif self._stage is Stage.ENCODE:
            self._condition = result
            self._begin_trajectory()
            self._begin_stage(Stage.DIFFUSE)
        elif self._stage is Stage.DIFFUSE and self._is_drawn:
            self._predicted = result
            self._begin_stage(Stage.GUIDE)
        elif self._stage is Stage.DIFFUSE:
            self._end_step(result)
        elif self._stage is Stage.GUIDE:
            self._end_step(self._predicted, step_of(result, self._request.options.coarse_guidance))
        else:
            self._end_pass(result)

    def _end_step(self, predicted: torch.Tensor, pull: torch.Tensor | None = None) -> None:
        assert self._trajectory is not None
        self._trajectory.advance(predicted, pull)
        is_clean = self._trajectory.steps_done == self._trajectory.steps
        self._begin_stage(Stage.DECODE if is_clean else Stage.DIFFUSE)

    def _begin_trajectory(self) -> None:
        networks, now = self._networks, self._pass
        self._trajectory = start(
            now.solver,
            now.steps,
            self._condition,
            self._generator,
            networks.prediction,
            networks.zero_terminal_snr,
            networks.sampling.first_time,
        )
        guided = torch.stack([self._vectors[text] for text in now.texts], dim=1)
        unguided = self._vectors[now.negative_text][:, None].expand_as(guided)
        # With guidance 1 the unguided half cancels out, and is left out as published.
        self._guidance_vectors = guided if now.guidance == 1 else torch.cat((guided, unguided))
        edges = self._request.options.mask_edges
        weights = region_weights(now.regions, self._size, networks.latent_px, edges)
        self._regions = None if weights is None else torch.from_numpy(weights)[None].to(networks.device)

    def _end_pass(self, decoded: torch.Tensor) -> None:
        """The picture of the last pass is worked out by whoever asks for it, and not by the thread of all steps."""
        end = partial(self._ended, decoded, self._cleaned, self._pass)
        if not self._pass.ends_cleaned:
            del self._condition
        del self._cleaned, self._sweep
        self._trajectory = None
        self._pass_index += 1
        if self.is_done:
            self._last_end = end
        else:
            self._picture = end()
            self._begin_pass()

    def _ended(self, decoded: torch.Tensor, cleaned: torch.Tensor, ended: Pass) -> Bytes:
        """The picture after a pass."""
        height, width = self._picture.shape[:2]
        options = self._request.options
        if ended.ends_cleaned:
            return lowered(decoded, decoded, self._size, width, height, ColourFix.NONE)
        restored = lowered(decoded, cleaned, self._size, width, height, options.colour_fix)
        return restored if ended.blend is None else blended(self._picture, restored, ended.blend, options.mask_edges)
