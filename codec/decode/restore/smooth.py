"""The restorer without a network: it smooths what the coarse picture's coding left and invents nothing.

Pixel blocks become an edge-keeping surface whose block averages stay what the stream says; the pictures of other
codecs are hardly touched. Deterministic: the seed, the texts and the maps of a request play no part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d, maximum_filter, minimum_filter

from codec.bitstream.stream import ExternalCoarse, NetCoarse, PixelCoarse, RefCoarse
from codec.decode.restore import RestoreRequest, run_to_end

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# Finer cells than 4 a block side change the result by less than 0.01 dB (measured on photos at 32 blocks), since
# the bicubic enlargement that follows is as smooth as anything the blocks can support.
_CELLS_PER_BLOCK = 4
_SURFACE_STEPS = 8

# A difference between neighbouring cells well below this is smoothed as noise, well above it is kept as an edge.
_EDGE_CONTRAST = 3.0

# The explicit scheme over eight neighbours is stable up to 1/4; smaller steps only need more rounds.
_DIFFUSION_RATE = 0.2

# Adding the whole residual at once makes the block grid visible again; 0.7 of it converges as fast.
_PULL = 0.7

_BAND_WINDOW = 5
_BAND_ROUNDS = 64

_RINGING_CONTRAST = 2.0
_RINGING_ROUNDS = 3
_RINGING_RATE = 0.2

# Bits a coded pixel below which a codec's own errors outweigh fine texture, and above which they are too small to
# be worth any loss of it. Between the two the cleaning fades out.
_COARSE_BPP, _FINE_BPP = 0.5, 1.5

# Half of what one back-projection of a reduced picture would add: the reduction's filter is not in the stream, and
# with this much both box and Lanczos reductions gain.
_SHARPENING = 0.25
_SHARPENING_SIGMA = 0.6

_ALL, _FIRST, _REST = slice(None), slice(None, -1), slice(1, None)
_NEIGHBOURS = (
    ((_ALL, _ALL, _FIRST), (_ALL, _ALL, _REST), 2 / 3),
    ((_ALL, _FIRST, _ALL), (_ALL, _REST, _ALL), 2 / 3),
    ((_ALL, _FIRST, _FIRST), (_ALL, _REST, _REST), 1 / 3),
    ((_ALL, _FIRST, _REST), (_ALL, _REST, _FIRST), 1 / 3),
)
"""Both ends of every pair of neighbouring cells, by direction, and the direction's share of the flow."""

_STRIP_PIXELS = 1_000_000
_PREVIEW_EDGE_PX = 512


class Smooth:
    """Smooths block grids, banding and ringing; adds no detail, so its pictures are not marked as generated."""

    name = "smooth"
    generative = False
    weights: Mapping[str, str] = MappingProxyType({})

    def begin(self, request: RestoreRequest) -> SmoothState:
        """Set up the work on `request.coarse` ((H, W, 3) uint8), choosing by `request.coarse_payload`.

        A PixelCoarse is rebuilt from its own samples; anything else, or None, is only cleaned.
        """
        payload = request.coarse_payload
        if isinstance(payload, PixelCoarse):
            return _BlockState(payload, height=request.coarse.shape[0], width=request.coarse.shape[1])
        height, width = request.coarse.shape[:2]
        # Sharpening would bring out JPEG's own blocks, at a loss where it is coarse.
        reduction = payload.scale if isinstance(payload, RefCoarse) and payload.codec != "jpeg" else 1
        return _CleaningState(request.coarse, _cleaning(payload, width * height), reduction)

    def step(self, states: Sequence[SmoothState]) -> None:
        """Advance each state that is neither done nor failed by one step."""
        for state in states:
            if not state.is_done and state.failure is None:
                try:
                    state.advance()
                except Exception as error:  # noqa: BLE001 - it ends its own request, never a neighbour's
                    state.failure = error

    def finish(self, state: SmoothState) -> Image.Image:
        """The restored picture at full size; takes the steps that have not been taken."""
        run_to_end(self, state)
        return Image.fromarray(state.restored)


class SmoothState(ABC):
    """One picture on its way through this restorer."""

    restored: Bytes

    def __init__(self, steps_total: int) -> None:
        self.steps_total = steps_total
        self.steps_done = 0
        self.seconds: dict[str, float] = {}
        self.failure: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether `restored` is complete."""
        return self.steps_done >= self.steps_total

    batch_key = None
    """Nothing is gained by taking steps of several requests together."""

    @abstractmethod
    def advance(self) -> None:
        """Do one step of the work, at most about a second of it."""

    @abstractmethod
    def preview(self) -> Image.Image:
        """The picture as far as it has come, with a long edge of at most about 1024 pixels."""


class _BlockState(SmoothState):
    """Pixel blocks: first a small surface of a few cells a block, then its enlargement strip by strip.

    The surface minimises (approximately) its total variation over the three channels together, under the condition
    that the average over each block lies in the interval that the block was quantised to.
    """

    def __init__(self, blocks: PixelCoarse, *, height: int, width: int) -> None:
        rows, columns = blocks.rows, blocks.columns
        samples = np.frombuffer(blocks.samples, np.uint8).reshape(rows, columns, 3)
        quantum = float(1 << blocks.level)
        # The encoder rounds an average to a whole number before it drops the low bits, so the interval of sample v
        # begins at v * quantum - 1/2, and its middle is half a level below that of v * quantum + quantum / 2.
        middles = samples.transpose(2, 0, 1).astype(np.float32) * quantum + (quantum - 1) / 2
        self._target = _without_bands(middles, quantum)
        self._half_interval = quantum / 2
        # Within the slack a block's average may move freely. Averages of photos crowd around the interval's middle
        # as seen from their neighbours, so the slack is much less than half an interval unless that is wide.
        self._slack = quantum * quantum / (4 * (quantum + 8))
        self._cells_y = min(_CELLS_PER_BLOCK, max(1, height // rows))
        self._cells_x = min(_CELLS_PER_BLOCK, max(1, width // columns))
        self._rounds = max(1, round(6 * (max(self._cells_x, self._cells_y) / _CELLS_PER_BLOCK) ** 2))
        self._surface = self._spread(self._target)
        self._strip_rows = _strip_rows(width)
        self.restored = np.zeros((0, width, 3), np.uint8)
        self._height, self._width = height, width
        super().__init__(_SURFACE_STEPS + -(-height // self._strip_rows))

    def advance(self) -> None:
        if self.steps_done < _SURFACE_STEPS:
            for _ in range(self._rounds):
                _diffuse(self._surface, _EDGE_CONTRAST, _DIFFUSION_RATE, power=0.5)
                self._pull_averages(self._slack, _PULL)
            if self.steps_done == _SURFACE_STEPS - 1:
                self._settle()
        else:
            self._enlarge_strip((self.steps_done - _SURFACE_STEPS) * self._strip_rows)
        self.steps_done += 1

    def preview(self) -> Image.Image:
        scale = min(1.0, _PREVIEW_EDGE_PX / max(self._height, self._width))
        size = max(1, round(self._width * scale)), max(1, round(self._height * scale))
        return Image.fromarray(_as_bytes(self._surface.transpose(1, 2, 0))).resize(size, Image.Resampling.BICUBIC)

    def _spread(self, values: Floats) -> Floats:
        """Block values (3, rows, columns) as a smooth surface over the cells, bicubic."""
        if self._cells_x == self._cells_y == 1:
            return values.copy()
        size = values.shape[2] * self._cells_x, values.shape[1] * self._cells_y
        planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in values]
        return np.stack([np.asarray(plane) for plane in planes])

    def _averages(self) -> Floats:
        _, rows, columns = self._target.shape
        cells = self._surface.reshape(3, rows, self._cells_y, columns, self._cells_x)
        averages: Floats = cells.mean(axis=(2, 4), dtype=np.float32)
        return averages

    def _excess(self, slack: float) -> Floats:
        """How far each block's average lies outside its target plus or minus the slack."""
        residual = self._target - self._averages()
        return residual - np.clip(residual, -slack, slack)

    def _pull_averages(self, slack: float, share: float) -> None:
        self._surface += share * self._spread(self._excess(slack))

    def _settle(self) -> None:
        """Bring every average into its interval, smoothly first, and what then is left by a constant a block."""
        for _ in range(3):
            self._pull_averages(self._slack, 1.0)
        rest = self._excess(self._half_interval)
        self._surface += rest.repeat(self._cells_y, axis=1).repeat(self._cells_x, axis=2)

    def _enlarge_strip(self, top: int) -> None:
        """Enlarge the rows from `top` on, one channel at a time, so that no full-size float plane ever exists."""
        if top == 0:
            self.restored = np.empty((self._height, self._width, 3), np.uint8)
        bottom = min(self._height, top + self._strip_rows)
        _, surface_rows, surface_columns = self._surface.shape
        window = (
            0.0,
            top * surface_rows / self._height,
            float(surface_columns),
            bottom * surface_rows / self._height,
        )
        for channel in range(3):
            plane = Image.fromarray(self._surface[channel])
            strip = plane.resize((self._width, bottom - top), Image.Resampling.BICUBIC, box=window)
            self.restored[top:bottom, :, channel] = _as_bytes(np.asarray(strip))


class _CleaningState(SmoothState):
    """A finished or reduced picture of another codec, cleaned of ringing strip by strip."""

    def __init__(self, coarse: Bytes, cleaning: float, reduction: int) -> None:
        self._coarse = coarse
        self._cleaning = cleaning
        self._sharpening_sigma = _SHARPENING_SIGMA * reduction if reduction > 1 else 0.0
        self._halo = 2 * _RINGING_ROUNDS + int(4 * self._sharpening_sigma + 0.5)
        height, width = coarse.shape[:2]
        self._strip_rows = _strip_rows(width)
        self.restored = np.empty_like(coarse)
        super().__init__(-(-height // self._strip_rows))

    def advance(self) -> None:
        height = self._coarse.shape[0]
        top = self.steps_done * self._strip_rows
        bottom = min(height, top + self._strip_rows)
        # The strip carries as many rows of its neighbours as the filters reach, so that no seam can show.
        first, last = max(0, top - self._halo), min(height, bottom + self._halo)
        strip = self._clean(self._coarse[first:last])
        self.restored[top:bottom] = strip[top - first : bottom - first]
        self.steps_done += 1

    def preview(self) -> Image.Image:
        height, width = self._coarse.shape[:2]
        stride = -(-max(height, width) // _PREVIEW_EDGE_PX)
        done = min(height, self.steps_done * self._strip_rows)
        small = self._coarse[::stride, ::stride].copy()
        small[: -(-done // stride)] = self.restored[:done:stride, ::stride]
        return Image.fromarray(small)

    def _clean(self, strip: Bytes) -> Bytes:
        if not self._cleaning and not self._sharpening_sigma:
            return strip
        planes = np.ascontiguousarray(strip.transpose(2, 0, 1), dtype=np.float32)
        for _ in range(_RINGING_ROUNDS if self._cleaning else 0):
            _diffuse(planes, _RINGING_CONTRAST, _RINGING_RATE * self._cleaning, power=1.0)
        if self._sharpening_sigma:
            blurred = planes
            for axis in (1, 2):
                blurred = gaussian_filter1d(blurred, self._sharpening_sigma, axis=axis)
            planes += _SHARPENING * (planes - blurred)
        return _as_bytes(planes.transpose(1, 2, 0))


def _without_bands(middles: Floats, quantum: float) -> Floats:
    """Block values (3, rows, columns) smoothed within their intervals, where nothing but quantisation varies.

    That is where all channels stay within one quantum over 5 x 5 blocks: a slow gradient, whose steps would else
    stay visible as bands. Everywhere else the interval's middle is the better estimate.
    """
    window = (1, _BAND_WINDOW, _BAND_WINDOW)
    spread = maximum_filter(middles, window, mode="nearest") - minimum_filter(middles, window, mode="nearest")
    reach = np.where(spread.max(axis=0) <= quantum, np.float32(quantum / 2), np.float32(0))
    values = middles.copy()
    for _ in range(_BAND_ROUNDS):
        _diffuse(values, quantum / 2, _DIFFUSION_RATE, power=1.0)
        np.clip(values, middles - reach, middles + reach, out=values)
    return values


def _cleaning(payload: object, pixels: int) -> float:
    """How strongly to clean, in [0, 1], from the bits that were spent on each coded pixel."""
    if isinstance(payload, RefCoarse):
        coded_bpp = 8 * len(payload.file) * payload.scale**2 / pixels
    elif isinstance(payload, NetCoarse):
        coded_bpp = 8 * len(payload.payload) * payload.scale**2 / pixels
    elif isinstance(payload, ExternalCoarse):
        coded_bpp = payload.declared_bits / pixels
    else:
        return 1.0
    return min(1.0, max(0.0, (_FINE_BPP - coded_bpp) / (_FINE_BPP - _COARSE_BPP)))


def _diffuse(planes: Floats, contrast: float, rate: float, *, power: float) -> None:
    """One explicit step of edge-keeping diffusion, in place, over planes of shape (3, H, W).

    The conductance (1 + |gradient|^2 / contrast^2) ** -power is one for the three channels, so that edges stay in one
    place in all of them, and for the four axes, whose diagonals keep slanted edges from turning into stairs. Power
    1/2 descends a smooth total variation; power 1 is the second conductance of Perona and Malik.
    """
    conductance = _squared_gradient(planes)
    conductance *= 1 / (contrast * contrast)
    conductance += 1
    if power == 0.5:
        np.sqrt(conductance, out=conductance)
    np.divide(np.float32(rate / 2), conductance, out=conductance)
    change = np.zeros_like(planes)
    for one, other, share in _NEIGHBOURS:
        flow = planes[other] - planes[one]
        flow *= (conductance[one[1:]] + conductance[other[1:]]) * np.float32(share)
        change[one] += flow
        change[other] -= flow
    planes += change


def _squared_gradient(planes: Floats) -> Floats:
    """(H, W): squared differences to the four neighbours, averaged over channels, half of each to either side."""
    squares = np.zeros(planes.shape[1:], np.float32)
    for one, other, _ in _NEIGHBOURS[:2]:
        difference = planes[other] - planes[one]
        square = np.einsum("cij,cij->ij", difference, difference)
        square *= 1 / 6
        squares[one[1:]] += square
        squares[other[1:]] += square
    return squares


def _strip_rows(width: int) -> int:
    # At least 32 rows, or the halos of a very wide picture would cost more than its strips.
    return max(32, _STRIP_PIXELS // width)


def _as_bytes(values: Floats) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
