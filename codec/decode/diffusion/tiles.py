"""Cuts a picture or a latent into overlapping tiles and blends what a network makes of them. Calls no network.

All places are in pixels of the picture, also where the tiles are of latents, so that one cut serves every stage.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

Window = npt.NDArray[np.float64]

OVERLAP_PX = 128
"""How far tiles reach into each other at least, where they are large enough for that."""

MAX_ASPECT = 2
"""How much longer than a square of its area a tile may be: the networks were trained on squares."""


@dataclass(frozen=True)
class Tile:
    """A part of the picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, values: torch.Tensor, unit: int) -> torch.Tensor:
        """This part of (B, C, H, W) `values`, which stand for `unit` pixels an edge each."""
        top, left, height, width = (side // unit for side in (self.top, self.left, self.height, self.width))
        return values[:, :, top : top + height, left : left + width]


@dataclass(frozen=True)
class Axis:
    """How tiles of one length lie along one side of the picture. Their windows add up to 1 everywhere."""

    length: int
    tile: int
    starts: tuple[int, ...]

    def windows(self, unit: int) -> list[Window]:
        """For each tile how much it holds at each of its samples, which stand for `unit` pixels.

        Where two tiles overlap one fades into the other along half a period of a cosine. The outer quarters of the
        overlap, where a network still sees the tile's end, are left to the neighbour alone.
        """
        windows = []
        for index, start in enumerate(self.starts):
            places = start + (np.arange(self.tile // unit) + 0.5) * unit
            rising = np.ones_like(places)
            if index > 0:
                rising = _fade(places, start, self.starts[index - 1] + self.tile)
            falling = np.ones_like(places)
            if index + 1 < len(self.starts):
                falling = 1 - _fade(places, self.starts[index + 1], start + self.tile)
            windows.append(rising * falling)
        # Only where three tiles overlap do the windows not add up to 1 by themselves.
        total = np.zeros(self.length // unit)
        for start, window in zip(self.starts, windows, strict=True):
            total[start // unit : (start + self.tile) // unit] += window
        return [
            window / total[start // unit : (start + self.tile) // unit]
            for start, window in zip(self.starts, windows, strict=True)
        ]


def _fade(places: Window, begin: int, end: int) -> Window:
    margin = (end - begin) / 4
    share = np.clip((places - begin - margin) / (end - begin - 2 * margin), 0.0, 1.0)
    rising: Window = np.sin(share * math.pi / 2) ** 2
    return rising


@dataclass(frozen=True)
class Tiling:
    """Equal tiles that cover a picture of `height` x `width` pixels, row by row."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.columns.starts)

    def __getitem__(self, index: int) -> Tile:
        row, column = divmod(index, len(self.columns.starts))
        return Tile(self.rows.starts[row], self.columns.starts[column], self.rows.tile, self.columns.tile)

    @classmethod
    def cut(cls, height: int, width: int, max_pixels: int, multiple_px: int) -> "Tiling":
        """The fewest tiles of at most about `max_pixels`; everything is a multiple of `multiple_px`.

        A picture with no more pixels than that is one tile, whatever its shape. Places on that grid keep the phase of
        a network's own halvings and windows, so that neighbours see the same samples the same way.
        """
        if height * width <= max_pixels:
            return cls(Axis(height, height, (0,)), Axis(width, width, (0,)))
        side = max(2 * multiple_px, _whole(math.isqrt(max_pixels), multiple_px))
        tile_height = min(height, side)
        tile_width = min(width, MAX_ASPECT * side, max(side, _whole(max_pixels // tile_height, multiple_px)))
        tile_height = min(height, MAX_ASPECT * side, max(side, _whole(max_pixels // tile_width, multiple_px)))
        return cls(_axis(height, tile_height, multiple_px), _axis(width, tile_width, multiple_px))


def smallest_tile_pixels(multiple_px: int) -> int:
    """Pixels of the smallest tile that `cut` makes of a large picture."""
    return (2 * multiple_px) ** 2


def _axis(length: int, tile: int, multiple: int) -> Axis:
    if tile >= length:
        return Axis(length, length, (0,))
    overlap = max(multiple, _whole(min(tile // 2, max(OVERLAP_PX, tile // 4)), multiple))
    count = -(-(length - overlap) // (tile - overlap))
    spare = (length - tile) // multiple
    return Axis(length, tile, tuple(round(index * spare / (count - 1)) * multiple for index in range(count)))


def _whole(length: int, multiple: int) -> int:
    return length // multiple * multiple


@lru_cache(maxsize=64)
def _windows_on(axis: Axis, unit: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """The windows of an axis as tensors: a copy to a device waits for it, so none is made at every step."""
    # Made outside of inference mode, so that whoever takes gradients may use them too.
    with torch.inference_mode(False):
        return tuple(torch.from_numpy(window).float().to(device) for window in axis.windows(unit))


class Sweep:
    """One stage on its way over all tiles: what is done, and what came out of it so far.

    `unit_px`: pixels that a sample of the result stands for, along an edge; `device`: where the result is gathered.
    """

    def __init__(self, tiling: Tiling, channels: int, unit_px: int, device: torch.device) -> None:
        self.tiling = tiling
        self.tiles_done = 0
        self._unit = unit_px
        self._rows = _windows_on(tiling.rows, unit_px, device)
        self._columns = _windows_on(tiling.columns, unit_px, device)
        shape = (1, channels, tiling.rows.length // unit_px, tiling.columns.length // unit_px)
        self.result = torch.zeros(shape, dtype=torch.float32, device=device)
        """Complete when `is_done`."""

    @property
    def is_done(self) -> bool:
        """Whether every tile was added."""
        return self.tiles_done == len(self.tiling)

    @property
    def tile(self) -> Tile:
        """The tile whose turn it is."""
        return self.tiling[self.tiles_done]

    def add(self, output: torch.Tensor) -> None:
        """Blend the network's output for `tile` into the result. A single tile becomes the result as it is."""
        row, column = divmod(self.tiles_done, len(self._columns))
        part = self.tile.of(self.result, self._unit)
        part += output.to(part.device) * (self._rows[row][:, None] * self._columns[column])
        self.tiles_done += 1
