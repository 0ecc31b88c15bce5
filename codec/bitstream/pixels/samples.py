"""Samples of small grids <-> bytes, by the odds of pixels_network.py.

A writer knows every block and computes all odds at once; a reader goes block by block. Both use the same functions,
and a test holds their odds against each other.
"""

import numpy as np

from codec.bitstream.coding.rangecoder import Decoder, Encoder
from codec.bitstream.pixels.inputs import (
    CHANNEL_ORDER,
    FIRST_ERROR,
    GREY,
    Above,
    gradient,
    inputs_in_row,
    neighbours_above,
    overall_input,
    place_inputs,
    with_sides,
)
from codec.bitstream.pixels.network import (
    EVEN_ODDS,
    LEAST_ODDS,
    MOST_ODDS,
    Evaluation,
    Floats,
    mass_below,
    mixture,
    networks_for,
)
from codec.bitstream.pixels.prior import Integers
from codec.bitstream.pixels.tables import CURVE_REACH, tables_for_many, tables_for_one


def write_samples(columns: int, rows: int, level: int, samples: bytes) -> bytes:
    """Code rows x columns x 3 samples (R, G, B) of 8 - `level` bits."""
    encoder = Encoder()
    decisions, odds = decisions_and_odds(columns, rows, level, samples)
    encoder.encode_all(decisions.ravel().tolist(), odds.ravel().tolist())
    return encoder.finish()


def read_samples(decoder: Decoder, columns: int, rows: int, level: int) -> bytes:
    """The inverse of `write_samples`; bytes that nothing wrote give samples too."""
    return _Reader(decoder, columns, rows, level).run()


def decisions_and_odds(columns: int, rows: int, level: int, samples: bytes) -> tuple[Integers, Integers]:
    """Every decision of a grid, in order, and the probability x 65536 that it is 1: both (blocks, 3, 8 - level)."""
    known = np.frombuffer(samples, np.uint8).reshape(rows, columns, 3)[:, :, CHANNEL_ORDER].astype(np.int64)
    above, in_row, middles = inputs_of(known, level)
    known = known.reshape(-1, 3)
    networks = networks_for(known.size)
    sums_above = networks.sums_above(above)
    odds = np.empty((*known.shape, 8 - level), np.int64)
    for channel, network in enumerate(networks.channels):
        outputs = network.outputs(sums_above[channel], in_row[:, : len(network.in_row)])
        curves = mixture(tables_for_many(), outputs.T, middles[:, channel])
        odds[:, channel] = _odds_of(known[:, channel], curves, level)
    return known[:, :, None] >> np.arange(7 - level, -1, -1) & 1, odds


def inputs_of(known: Integers, level: int) -> tuple[Integers, Floats, Integers]:
    """All inputs of a grid: (blocks, 34) from above, (blocks, 25) beside, and the middles, (blocks, 3)."""
    rows, columns, _ = known.shape
    tables, places = tables_for_many(), place_inputs(columns, rows, level).reshape(rows * columns, -1)
    values = (known << level) + (1 << level >> 1)
    west, west_west, neighbours = _around(values, GREY)
    wrong = abs(values.reshape(-1, 3) - gradient(tables, west, neighbours[:, 0], neighbours[:, 1]))
    west_wrong, _, wrong_above = _around(wrong.reshape(values.shape), FIRST_ERROR)
    above = Above.look(neighbours, wrong_above, places)
    around = inputs_in_row(
        tables, west, west_west, above.north, above.north_west, above.change, above.error + west_wrong
    )
    middles = around[2]
    steps = values.reshape(-1, 3) - middles
    measured = np.concatenate((wrong, abs(steps[:, 1:] - steps[:, :1])), axis=1)
    totals = np.cumsum(measured, axis=0) - measured
    overall = overall_input(tables, totals, np.arange(len(totals))[:, None])
    in_row = (np.stack(around, axis=-1).reshape(len(steps), -1), overall, steps[:, :2])
    return above.inputs, np.concatenate(in_row, axis=1, dtype=np.float64), middles


def _around(canvas: Integers, first: int) -> tuple[Integers, Integers, Integers]:
    """West of every block of a canvas, the one before it, (blocks, 3) both, and the neighbours above, (blocks, 8, 3).

    `first` stands around the very first block; for the other rules see docs/bitstream.md, "What stands outside the
    picture".
    """
    starts = np.concatenate((np.full((1, 3), first), canvas[:-1, 0]))[:, None]
    from_west = np.concatenate((starts, starts, canvas), axis=1)
    west, west_west = from_west[:, 1:-1], from_west[:, :-2]
    neighbours = neighbours_above(with_sides(canvas[[0, 0, *range(len(canvas) - 1)]]))
    neighbours[0] = west[0][:, None]
    return west.reshape(-1, 3), west_west.reshape(-1, 3), neighbours.reshape(-1, *neighbours.shape[2:])


def _odds_of(samples: Integers, curves: tuple[Integers, ...], level: int) -> Integers:
    """The odds of each sample's decisions, (samples, 8 - level)."""
    curve = tables_for_many().curve
    below = np.zeros_like(samples)
    above = (curves[0] + curves[1] + curves[2]) * tables_for_one().curve[CURVE_REACH]
    odds = np.empty((len(samples), 8 - level), np.int64)
    for place, shift in enumerate(range(7 - level, -1, -1)):
        edge = (samples >> shift | 1) << shift
        middle = mass_below(curve, curves, edge << level + 6)
        mass = above - below
        share = ((above - middle) << 16) // np.maximum(mass, 1)
        odds[:, place] = np.clip(np.where(mass == 0, EVEN_ODDS, share), LEAST_ODDS, MOST_ODDS)
        is_one = samples >= edge
        below, above = np.where(is_one, middle, below), np.where(is_one, above, middle)
    return odds


class _Hints:
    """What stands above the blocks of a row, or of a part of it, in lists of blocks."""

    def __init__(self, sums: Floats, above: Above) -> None:
        self.sums = [list(of_channel) for of_channel in sums]
        values = (above.north, above.north_west, above.change, above.error)
        self.values: list[list[list[int]]] = np.stack(values, axis=-1).tolist()
        """For each block and channel these four."""


class _Reader:
    """Goes through the blocks in row order, each one known before the next is looked at.

    A block is a list of six: its value in each channel, then the gradient prediction's error there.
    """

    def __init__(self, decoder: Decoder, columns: int, rows: int, level: int) -> None:
        self._decode, self._level, self._half_step = decoder.decode, level, 1 << level >> 1
        # What each bit of a sample is worth, highest first, in 1/64 grey level.
        self._halves = tuple(64 << shift for shift in range(7, level - 1, -1))
        self._networks = networks_for(columns * rows * 3)
        self._evaluations = [Evaluation(network, ()) for network in self._networks.channels]
        self._places = place_inputs(columns, rows, level)
        in_row = np.zeros(len(self._networks.channels[-1].in_row))
        self._in_row = [in_row[: len(network.in_row)] for network in self._networks.channels]
        # Sums over the blocks so far: three gradient errors, then how far red and blue steps are from green's.
        self._totals = [0] * 5
        self._count = 0

    def run(self) -> bytes:
        """Read every block."""
        rows, columns, _ = self._places.shape
        samples = bytearray()
        left = [GREY] * 3 + [FIRST_ERROR] * 3
        above: list[Integers] = []
        for row in range(rows):
            if above:
                hints = self._look(neighbours_above(with_sides(np.stack(above)))[0], self._places[row])
            blocks = [left, left]
            for column in range(columns):
                if not above:
                    # Above the first row stands, while it is read, the block to the west.
                    hints = self._look(np.broadcast_to(blocks[-1], (1, 8, 6)), self._places[row, column : column + 1])
                blocks.append(self._read_block(hints, column if above else 0, blocks[-1], blocks[-2]))
            left = blocks[2]
            finished = np.array(blocks[2:])
            samples += (finished[:, CHANNEL_ORDER] >> self._level).astype(np.uint8).tobytes()
            above = [above[-1] if above else finished, finished]
        return bytes(samples)

    def _look(self, neighbours: Integers, places: Integers) -> _Hints:
        above = Above.look(neighbours[..., :3], neighbours[..., 3:], places)
        return _Hints(self._networks.sums_above(above.inputs), above)

    def _read_block(self, hints: _Hints, at: int, west: list[int], west_west: list[int]) -> list[int]:
        tables, totals = tables_for_one(), self._totals
        inputs: list[int] = []
        gradients = []
        for channel, (north, north_west, change, error) in enumerate(hints.values[at]):
            in_row = west[channel], west_west[channel], north, north_west, change, error + west[channel + 3]
            inputs += inputs_in_row(tables, *in_row)
            gradients.append(gradient(tables, west[channel], north, north_west))
        inputs += [overall_input(tables, total, self._count) for total in totals]
        self._in_row[0][:] = inputs
        steps = len(inputs)
        values, errors = [], []
        for channel, evaluation in enumerate(self._evaluations):
            outputs = evaluation.run(hints.sums[channel][at], self._in_row[channel])
            middle = inputs[6 * channel + 2]
            value = self._read_value(mixture(tables, outputs.astype(np.int64).tolist(), middle))
            values.append(value)
            error = abs(value - gradients[channel])
            errors.append(error)
            totals[channel] += error
            inputs.append(value - middle)
            if channel < 2:
                self._in_row[2][steps + channel] = value - middle
        totals[3] += abs(inputs[steps + 1] - inputs[steps])
        totals[4] += abs(inputs[steps + 2] - inputs[steps])
        self._count += 1
        return values + errors

    def _read_value(self, curves: tuple[int, ...]) -> int:
        """Read one sample by halving the range of its values, highest bit first, and return what it stands for."""
        curve, decode = tables_for_one().curve, self._decode
        weight_0, weight_1, weight_2, centre_0, centre_1, centre_2, inverse_0, inverse_1, inverse_2 = curves
        below, above = 0, (weight_0 + weight_1 + weight_2) * curve[CURVE_REACH]
        start = 0
        for half in self._halves:
            edge = start + half
            # `mass_below` and the odds' bounds are written out, because calls would take a tenth of the whole time.
            middle = (
                weight_0 * curve[(edge - centre_0) * inverse_0 >> 16]
                + weight_1 * curve[(edge - centre_1) * inverse_1 >> 16]
                + weight_2 * curve[(edge - centre_2) * inverse_2 >> 16]
            )
            mass = above - below
            odds = (above - middle << 16) // mass if mass else EVEN_ODDS
            if odds < LEAST_ODDS:
                odds = LEAST_ODDS
            elif odds > MOST_ODDS:
                odds = MOST_ODDS
            if decode(odds):
                start, below = edge, middle
            else:
                above = middle
        return (start >> 6) + self._half_step
