"""Large pictures in tiles, so that the memory a transform takes does not grow with the picture.

Each tile is computed with as many positions around it as can matter, so a tiled result differs from a whole one only
in how convolutions round.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

STRIDE = 16
"""Pixels along an edge of one latent position, in every architecture here."""

_MOST_UNTILED = 8192
"""Latent positions of a picture of 2 megapixels; up to here there is one tile."""

_TILE_CHANNELS = 8192
"""Latent positions along a tile's edge times the transform's channels, at most: 64, or 1024 pixels, with 128 of them.
At half the picture's size such a tile with its surroundings takes 250 MB, and a few of that are alive at a time."""


@dataclass(frozen=True)
class Span:
    """Positions [start, end) of one axis that a tile gives, computed from [outer_start, outer_end)."""

    start: int
    end: int
    outer_start: int
    outer_end: int


def tile_spans(rows: int, columns: int, *, width: int, reach: int) -> Iterator[tuple[Span, Span]]:
    """The tiles of rows x columns latent positions as spans down and across, which follow from these numbers alone.

    `width`: the transform's channels; `reach`: how many positions away an input still counts.
    """
    edge = max(rows, columns) if rows * columns <= _MOST_UNTILED else max(1, _TILE_CHANNELS // width)
    for down in _spans(rows, edge, reach):
        for across in _spans(columns, edge, reach):
            yield down, across


def _spans(size: int, edge: int, reach: int) -> list[Span]:
    count = -(-size // edge)
    cuts = [size * place // count for place in range(count + 1)]
    return [Span(start, end, max(0, start - reach), min(size, end + reach)) for start, end in pairwise(cuts)]
