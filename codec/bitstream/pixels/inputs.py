"""What the networks of pixel blocks see: neighbours already coded, how well they were foretold, and the place.

Inputs come in two parts: those that are known when a row begins, for the whole row, and those that its own blocks
have a part in. Channels are in the order of CHANNEL_ORDER throughout.
"""

from dataclasses import dataclass

import numpy as np

from codec.bitstream.pixels.prior import Integers
from codec.bitstream.pixels.tables import Number, Tables, log16

CHANNEL_ORDER = (1, 0, 2)
"""Green first: it is the best guide to the other two."""

NEIGHBOURS = ((-1, 0), (0, -1), (-1, -1), (1, -1), (-2, 0), (0, -2), (1, -2), (-1, -2), (2, -1), (-2, -1))
"""Columns and rows from the block to its coded neighbours; the first four are W, N, NW, NE."""

GREY = 128
"""What stands in for neighbours of the very first block."""
FIRST_ERROR = 8
"""Error that is assumed of the gradient prediction before there is any block to measure it on."""

_SIDES = 2
"""Columns beside the picture, and rows above it, that neighbours may lie in."""
_ACROSS, _DOWN = np.array([place for place in NEIGHBOURS if place[1]]).T
"""The neighbours in the rows above: N, NW, NE and five more."""


def place_inputs(columns: int, rows: int, level: int) -> Integers:
    """What a block's place says, and a one for the biases: (rows, columns, 10)."""
    y, x = np.mgrid[:rows, :columns]
    hints = (
        32 * (x == 0),
        32 * (x == 1),
        32 * (x == columns - 1),
        32 * (y == 0),
        32 * (y == 1),
        y * 64 // rows - 32,
        x * 64 // columns - 32,
        np.full_like(x, 16 * (level - 3)),
        np.full_like(x, log16(max(columns, rows)) - 80),
        np.ones_like(x),
    )
    return np.stack(hints, axis=-1)


def with_sides(rows: Integers) -> Integers:
    """Finished rows, (rows, columns, planes), with their own ends twice on either side."""
    columns = rows.shape[1]
    sided: Integers = rows[:, np.clip(np.arange(-_SIDES, columns + _SIDES), 0, columns - 1)]
    return sided


def neighbours_above(canvas: Integers) -> Integers:
    """The eight neighbours in the rows above, for every block of all rows from the third to one past the last.

    `canvas`: rows from `with_sides`, (rows + 1, columns + 4, planes). Returns (rows, columns, 8, planes).
    """
    rows, columns = canvas.shape[0] - 1, canvas.shape[1] - 2 * _SIDES
    y, x = np.arange(2, 2 + rows)[:, None, None], np.arange(_SIDES, _SIDES + columns)[:, None]
    neighbours: Integers = canvas[y + _DOWN, x + _ACROSS]
    return neighbours


@dataclass(frozen=True)
class Above:
    """What the rows above tell about each of many blocks: `inputs`, (blocks, 34), for the networks; the others,
    (blocks, 3), for `inputs_in_row`."""

    inputs: Integers
    north: Integers
    north_west: Integers
    change: Integers
    error: Integers

    @classmethod
    def look(cls, neighbours: Integers, errors: Integers, places: Integers) -> "Above":
        """`neighbours` and the gradient prediction's `errors` there, (blocks, 8, 3); `places`, (blocks, 10)."""
        north, north_west, north_east = neighbours[:, 0], neighbours[:, 1], neighbours[:, 2]
        return cls(
            inputs=np.concatenate((neighbours.reshape(len(neighbours), -1), places), axis=1),
            north=north,
            north_west=north_west,
            change=np.abs(north - north_west) + np.abs(north - north_east),
            error=errors[:, 0] + errors[:, 1] + errors[:, 2],
        )


def gradient(tables: Tables[Number], west: Number, north: Number, north_west: Number) -> Number:
    """The prediction whose errors the networks are told."""
    return tables.grey[3 * (west + north) - 2 * north_west + 2 >> 2]


def inputs_in_row(
    tables: Tables[Number],
    west: Number,
    west_west: Number,
    north: Number,
    north_west: Number,
    change: Number,
    error: Number,
) -> tuple[Number, Number, Number, Number, Number, Number]:
    """One channel's six inputs that the block's own row has a part in; the third is the middle.

    `change` is that of `Above`, `error` too, with the western block's added.
    """
    middle = west + north >> 1
    activity = tables.log_around[change + abs(west - north_west)]
    return west, west_west, middle, middle - 128 >> 1, activity, tables.log_around[error]


def overall_input(tables: Tables[Number], total: Number, count: Number) -> Number:
    """How large on average was what came to `total` over the `count` blocks so far."""
    return tables.log_overall[(16 * total + 512) // (count + 4)]
