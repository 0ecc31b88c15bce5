"""The restorer by a GAN-trained network: one look at each tile of the coarse picture, without texts and noise.

Deterministic on one machine: texts and maps of a request play no part, and its seed only in the grain. It knows no
files.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from codec.bitstream.coarse.reference import encode_reference
from codec.bitstream.stream import Coarse, ExternalCoarse, NetCoarse, RefCoarse
from codec.decode.diffusion.memory import free_host_bytes, is_exhaustion, release
from codec.decode.diffusion.tiles import Sweep, Tiling
from codec.decode.restore import RestoreRequest, run_to_end
from codec.decode.restore.grain import add_grain
from codec.errors import OutOfMemory
from codec.nets.lite.rrdbnet import BYTES_PER_PX, REDUCTION, RRDBNet

_TILE_PX = 640
"""Edge of the largest tile: 768 x 512 is one. Always the same, so that free memory has no say in how pictures look."""

_HOST_BYTES_PER_PX = 24
"""Of main memory for each pixel of the picture: three float32 samples, and a few of 8 bits."""

_COARSE_BPP, _FINE_BPP = 0.15, 0.4
"""Bits of the coarse picture for each pixel up to which the network's picture is taken, and from which on the coarse
one: the network draws anew what finer files hold better. On kodim01 and kodim23 the two come equally close by LPIPS at
0.25 to 0.35; between the figures they are mixed."""

_BUCKET_PX, _BUCKETED_PIXELS = 32, 256 * 256
"""Sides of pictures up to so many pixels are filled up to multiples of 32, so that small pictures of different sizes
share calls: two of 64 x 64 take half the time together, while from 192 x 256 on next to nothing is gained."""

_GRAIN_SHARE = 0.8
"""Of the original's grain: what the network has drawn adds to it, and too much is seen sooner than too little."""

_PREVIEW_EDGE_PX = 512


class GANRestorer:
    """Restores with `network`. One instance serves all requests of a process; steps may come from several threads."""

    name = "gan"
    generative = True
    weights: Mapping[str, str] = MappingProxyType({})

    def __init__(self, network: RRDBNet, *, tile_px: int = _TILE_PX) -> None:
        """`tile_px` is the edge of the square whose area no tile exceeds."""
        self._network = network
        self._tile_pixels = tile_px**2

    def begin(self, request: RestoreRequest) -> "GANState":
        """Raises OutOfMemory before any memory is taken."""
        height, width = request.coarse.shape[:2]
        pixels = height * width
        needed = _HOST_BYTES_PER_PX * pixels + BYTES_PER_PX * min(pixels, self._tile_pixels)
        free = free_host_bytes()
        if needed > free:
            raise OutOfMemory(
                f"Restoring {width} x {height} pixels needs {needed >> 20} MB of main memory; {free >> 20} MB are free."
            )
        return GANState(request, _share(request.coarse_payload, width, height), self._tile_pixels)

    def step(self, states: Sequence["GANState"]) -> None:
        """One tile of each state; tiles of one shape share a call. A state that cannot go on keeps the reason as its
        `failure`."""
        batches: dict[tuple[int, ...], list[GANState]] = defaultdict(list)
        for state in states:
            if not state.is_done and state.failure is None:
                batches[state.batch_key].append(state)
        for batch in batches.values():
            self._advance(batch)

    def _advance(self, states: Sequence["GANState"]) -> None:
        """Advance states whose tiles have one shape, in as few calls as memory allows."""
        begun = time.perf_counter()
        failure = self._restore_tiles(states)
        seconds = time.perf_counter() - begun
        for state in states:
            state.seconds["gan"] = state.seconds.get("gan", 0.0) + seconds
        if failure is None:
            return
        if is_exhaustion(failure):
            # Outside of the error's handler, whose traceback holds on to what did not fit.
            failure = _too_little_memory()
            release(self._device)
        if len(states) == 1:
            states[0].failure = failure
            return
        half = len(states) // 2
        self._advance(states[:half])
        self._advance(states[half:])

    def _restore_tiles(self, states: Sequence["GANState"]) -> Exception | None:
        """Take the step of all, or of none; returns what went wrong."""
        try:
            restored = self._restored(torch.cat([state.tile_values() for state in states]))
        except Exception as error:  # noqa: BLE001 - it ends the request that causes it, never a neighbour
            return error
        for state, tile in zip(states, torch.split(restored, 1), strict=True):
            try:
                state.apply_output(tile)
            except Exception as error:  # noqa: BLE001 - as above
                state.failure = error
        return None

    def finish(self, state: "GANState") -> Image.Image:
        """The restored picture; takes the steps that have not been taken. Raises the state's failure."""
        run_to_end(self, state)
        return state.picture()

    @property
    def _device(self) -> torch.device:
        return self._network.last.weight.device

    def _restored(self, values: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            restored: torch.Tensor = self._network(values.to(self._device))
        return restored.float().cpu()


class GANState:
    """A request's coarse picture on its way through the network tile by tile.

    `share` in [0, 1] is how much of the picture will be the network's; with none the network is not asked.
    """

    def __init__(self, request: RestoreRequest, share: float, max_tile_pixels: int) -> None:
        coarse = request.coarse
        # A fine coarse picture has grain of its own.
        self._grain, self._seed = share * _GRAIN_SHARE * request.grain, request.seed
        self.seconds: dict[str, float] = {}
        self.failure: Exception | None = None
        self._height, self._width = coarse.shape[:2]
        multiple = _BUCKET_PX if self._height * self._width <= _BUCKETED_PIXELS else REDUCTION
        ends = ((0, -self._height % multiple), (0, -self._width % multiple), (0, 0))
        self._coarse = torch.from_numpy(np.pad(coarse, ends, mode="edge")).permute(2, 0, 1)[None]
        tiling = Tiling.cut(self._coarse.shape[2], self._coarse.shape[3], max_tile_pixels, REDUCTION)
        self._sweep = Sweep(tiling, channels=3, unit_px=1, device=torch.device("cpu"))
        self.steps_total = len(tiling) if share else 0
        self._share = share
        self._preview = Image.fromarray(coarse)
        self._preview.thumbnail((_PREVIEW_EDGE_PX, _PREVIEW_EDGE_PX))

    @property
    def steps_done(self) -> int:
        """Tiles that the network has looked at."""
        return self._sweep.tiles_done

    @property
    def batch_key(self) -> tuple[int, ...]:
        """The shape of the tile whose turn it is."""
        tile = self._sweep.tile
        return tile.height, tile.width

    @property
    def is_done(self) -> bool:
        """Whether all tiles are restored."""
        return self.steps_done == self.steps_total

    def tile_values(self) -> torch.Tensor:
        """The tile whose turn it is, (1, 3, h, w) float32 in [0, 1]."""
        return self._sweep.tile.of(self._coarse, 1).float() / 255

    def apply_output(self, restored: torch.Tensor) -> None:
        """Blend what the network gave for `tile_values` into the picture."""
        tile = self._sweep.tile
        self._sweep.add(restored)
        scale = self._preview.width / self._width
        size = max(1, round(tile.width * scale)), max(1, round(tile.height * scale))
        shown = Image.fromarray(_as_bytes(restored)).resize(size, Image.Resampling.BILINEAR)
        self._preview.paste(shown, (round(tile.left * scale), round(tile.top * scale)))

    def preview(self) -> Image.Image:
        """The picture as it stands, its long edge at most 512 pixels: restored where tiles are done, else coarse."""
        return self._preview.copy()

    def picture(self) -> Image.Image:
        """The restored picture, once all tiles are done."""
        mixed = self._sweep.result
        if self._share < 1:
            mixed = torch.lerp(self._coarse.float() / 255, mixed.clamp(0, 1), self._share)
        restored = _as_bytes(mixed[:, :, : self._height, : self._width])
        if self._grain:
            add_grain(restored, self._grain, self._seed)
        return Image.fromarray(restored)


def _share(payload: Coarse | None, width: int, height: int) -> float:
    """How much of the picture is the network's, by the bits that the coarse picture has for each pixel."""
    if isinstance(payload, RefCoarse):
        bits = 8 * len(encode_reference(payload, width, height))
    elif isinstance(payload, NetCoarse):
        bits = 8 * len(payload.payload)
    elif isinstance(payload, ExternalCoarse):
        bits = payload.declared_bits
    else:
        return 1.0
    bpp = bits / (width * height)
    return min(1.0, max(0.0, (_FINE_BPP - bpp) / (_FINE_BPP - _COARSE_BPP)))


def _as_bytes(values: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(1, 3, H, W) in [0, 1] to (H, W, 3) uint8."""
    samples: npt.NDArray[np.uint8] = (values[0] * 255).round_().clamp_(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(samples)


def _too_little_memory() -> OutOfMemory:
    return OutOfMemory(
        "Memory ran out while the picture was restored. Decode fewer pictures at a time, or free memory on the device."
    )
