"""The odds of pixel blocks by small integer networks, one a channel, that look at blocks already coded.

All weights are frozen in pixels_prior.bin and all arithmetic is in integers, so that every machine computes the same
odds. It knows nothing of payload headers or grids.
"""

from functools import lru_cache
from operator import mul
from struct import Struct
from typing import Protocol

from codec.bitstream.pixels_prior import (
    COMPONENTS,
    EXP_SIZE,
    LANE_BITS,
    LANE_ZERO,
    OUTPUTS,
    SCALE_SIZE,
    SIGMOID_RANGE,
    SIGMOID_STEPS,
    ChannelNetwork,
    load_prior,
)
from codec.bitstream.rangecoder import PROBABILITY_BITS


def log16(value: int) -> int:
    """Sixteen times the binary logarithm of `value` >= 1, piecewise linear between powers of two."""
    whole = value.bit_length() - 1
    return 16 * whole + ((value << 4 >> whole) & 15)


CHANNEL_ORDER = (1, 0, 2)
"""Green first: it is the best guide to the other two."""

_NEIGHBOURS = ((-1, 0), (0, -1), (-1, -1), (1, -1), (-2, 0), (0, -2), (1, -2), (-1, -2), (2, -1), (-2, -1))
"""Columns and rows from the block to its coded neighbours; the first four are W, N, NW, NE."""

_GREY = 128
"""What stands in for neighbours of the very first block."""
_FIRST_ERROR = 8
"""Error that is assumed of the gradient prediction before there is any block to measure it on."""

_LEAST_ODDS = 24
"""No decision gets less than this of 65536: a surprise costs at most 12 bits, and a zero width is impossible."""
_MOST_ODDS = (1 << PROBABILITY_BITS) - _LEAST_ODDS

_HIDDEN_TOP = 8191
"""Hidden units are cut off here (32.0), which bounds every sum to its lane."""
_OUTPUT_ZERO = LANE_ZERO + (LANE_ZERO << 3)
_SCALE_FIRST = -103
_SCALE_LAST = _SCALE_FIRST + SCALE_SIZE - 1
_CENTRE_FIRST, _CENTRE_LAST = -128 << 6, 384 << 6
"""Centres of the curves, in 1/64 grey level, are kept this near to what a sample can be."""
_CURVE_REACH = 76_000
"""Above 384 x 64 times the largest inverse scale over 65536: no argument of the curve lies further out."""

_LOG_AROUND = tuple(log16(1 + value) - 48 for value in range(4 * 255 + 1))
_LOG_OVERALL = tuple(log16(1 + value) - 80 for value in range(16 * 510 + 128 + 1))


class SymbolCoder(Protocol):
    """Writes or reads one decision; both directions walk through the same odds."""

    def code(self, bit: int, p1: int) -> int:
        """Code one decision and return it; a reader ignores `bit`."""


MAX_FINE_SAMPLES = 4608
"""Up to 48x32 blocks the large networks code the samples, beyond it the small ones; part of the format."""


def code_samples(coder: SymbolCoder, columns: int, rows: int, level: int, samples: bytearray) -> None:
    """Code rows x columns x 3 samples (R, G, B) of 8 - `level` bits through the networks.

    A writing `coder` takes the values from `samples`; a reading one ignores them and they are filled in.
    """
    _Walk(coder, columns, rows, level, samples).run()


class _Walk:
    """Walks over the blocks in row order; keeps the canvas of known blocks and of the gradient prediction's errors.

    Both canvases have two rows above and two columns on either side of the picture, filled as docs/bitstream.md
    ("What stands outside the picture") says.
    """

    def __init__(self, coder: SymbolCoder, columns: int, rows: int, level: int, samples: bytearray) -> None:
        self._coder, self._samples = coder, samples
        self._columns, self._rows, self._level = columns, rows, level
        self._stride = columns + 4
        size = self._stride * (rows + 2)
        self._values = [[_GREY] * size for _ in range(3)]
        self._errors = [[_FIRST_ERROR] * size for _ in range(3)]
        self._offsets = tuple(dx + dy * self._stride for dx, dy in _NEIGHBOURS)
        self._prior = load_prior()
        networks = self._prior.fine if columns * rows * 3 <= MAX_FINE_SAMPLES else self._prior.quick
        self._networks = networks.networks
        first, second = networks.hidden
        self._first, self._second = _Lanes(first), _Lanes(second)
        self._curve = _whole_curve()

    def run(self) -> None:
        """Code every block."""
        columns, rows = self._columns, self._rows
        # Sums over the blocks so far: three gradient errors, then red and blue against green.
        sums = [0, 0, 0, 0, 0]
        constant = (16 * (self._level - 3), log16(max(columns, rows)) - 80)
        count = 0
        for row in range(rows):
            start = (row + 2) * self._stride + 2
            if row:
                self._open_row(start)
            for column in range(columns):
                at = start + column
                if row == 0:
                    self._fill_above(at)
                place = (
                    32 * (column == 0),
                    32 * (column == 1),
                    32 * (column == columns - 1),
                    32 * (row == 0),
                    32 * (row == 1),
                    row * 64 // rows - 32,
                    column * 64 // columns - 32,
                    *constant,
                )
                overall = [_LOG_OVERALL[(16 * total + 512) // (count + 4)] for total in sums]
                self._code_block(at, 3 * count, overall, place, sums)
                count += 1
            self._close_row(start, row)

    def _open_row(self, start: int) -> None:
        """Left of a row that is being coded stands the first block of the row above."""
        for canvas in (*self._values, *self._errors):
            canvas[start - 2] = canvas[start - 1] = canvas[start - self._stride]

    def _fill_above(self, at: int) -> None:
        """Above the first row, while it is being coded, stands the block to the west."""
        stride = self._stride
        for canvas in (*self._values, *self._errors):
            west = [canvas[at - 1]] * 5
            canvas[at - stride - 2 : at - stride + 3] = west
            canvas[at - 2 * stride - 2 : at - 2 * stride + 3] = west

    def _close_row(self, start: int, row: int) -> None:
        """Beside a finished row stand its own ends; above the first one, once finished, stands itself."""
        stride, end = self._stride, start + self._columns
        for canvas in (*self._values, *self._errors):
            canvas[start - 2] = canvas[start - 1] = canvas[start]
            canvas[end] = canvas[end + 1] = canvas[end - 1]
            if row == 0:
                whole = canvas[start - 2 : end + 2]
                canvas[start - 2 - stride : end + 2 - stride] = whole
                canvas[start - 2 - 2 * stride : end + 2 - 2 * stride] = whole

    def _code_block(self, at: int, index: int, overall: list[int], place: tuple[int, ...], sums: list[int]) -> None:
        inputs: list[int] = []
        middles, gradients, activities, errors = [], [], [], []
        for values, wrong in zip(self._values, self._errors, strict=True):
            around = [values[at + offset] for offset in self._offsets]
            west, north, north_west, north_east = around[:4]
            middle = west + north >> 1
            inputs += [value - middle for value in around]
            middles.append(middle)
            gradients.append(min(max(3 * (west + north) - 2 * north_west + 2 >> 2, 0), 255))
            change = abs(west - north_west) + abs(north - north_west) + abs(north - north_east)
            activities.append(_LOG_AROUND[change])
            stride = self._stride
            error = wrong[at - 1] + wrong[at - stride] + wrong[at - stride - 1] + wrong[at - stride + 1]
            errors.append(_LOG_AROUND[error])
        inputs += [middle - 128 >> 1 for middle in middles]
        inputs += activities
        inputs += errors
        inputs += overall
        inputs += place

        level, samples = self._level, self._samples
        half_step = (1 << level) >> 1
        steps: list[int] = []
        for channel, plane in enumerate(CHANNEL_ORDER):
            outputs = self._evaluate(self._networks[channel], inputs)
            sample = self._code_sample(outputs, middles[channel], samples[index + plane])
            samples[index + plane] = sample
            value = (sample << level) + half_step
            step = value - middles[channel]
            steps.append(step)
            inputs.append(step)
            self._values[channel][at] = value
            error = abs(value - gradients[channel])
            self._errors[channel][at] = error
            sums[channel] += error
        sums[3] += abs(steps[1] - steps[0])
        sums[4] += abs(steps[2] - steps[0])

    def _evaluate(self, network: ChannelNetwork, inputs: list[int]) -> list[int]:
        """The nine outputs of a network, in units of 2**-20."""
        first, second = self._first, self._second
        packed = sum(map(mul, network.first, inputs), network.first_bias)
        hidden = first.rectify(packed, 7)
        hidden = second.rectify(sum(map(mul, network.second, hidden), network.second_bias), 12)
        outputs = _OUTPUTS.split(sum(map(mul, network.third, hidden), network.third_bias))
        skips = _OUTPUTS.split(packed >> first.bits)
        return [a + (b << 3) - _OUTPUT_ZERO for a, b in zip(outputs, skips, strict=True)]

    def _code_sample(self, outputs: list[int], middle: int, sample: int) -> int:
        """Code one sample by halving the range of its values, highest bit first."""
        prior, level = self._prior, self._level
        curve, code = self._curve, self._coder.code
        exponential, inverse_scale = prior.exponential, prior.inverse_scale
        strongest = max(outputs[:COMPONENTS])
        weight_0, weight_1, weight_2 = [
            exponential[min((strongest - output) >> 15, EXP_SIZE - 1)] for output in outputs[:COMPONENTS]
        ]
        centre_0, centre_1, centre_2 = [
            min(max((middle << 6) + (output >> 11), _CENTRE_FIRST), _CENTRE_LAST)
            for output in outputs[COMPONENTS : 2 * COMPONENTS]
        ]
        inverse_0, inverse_1, inverse_2 = [
            inverse_scale[min(max(output >> 15, _SCALE_FIRST), _SCALE_LAST) - _SCALE_FIRST]
            for output in outputs[2 * COMPONENTS :]
        ]
        below, above = 0, (weight_0 + weight_1 + weight_2) * curve[_CURVE_REACH]
        value = 0
        for shift in range(7 - level, -1, -1):
            edge = (value + (1 << shift)) << level + 6
            middle_mass = (
                weight_0 * curve[(edge - centre_0) * inverse_0 >> 16]
                + weight_1 * curve[(edge - centre_1) * inverse_1 >> 16]
                + weight_2 * curve[(edge - centre_2) * inverse_2 >> 16]
            )
            mass = above - below
            odds = ((above - middle_mass) << 16) // mass if mass else 1 << 15
            # Written out, because min and max as calls would take a third of the whole time.
            if odds < _LEAST_ODDS:
                odds = _LEAST_ODDS
            elif odds > _MOST_ODDS:
                odds = _MOST_ODDS
            if code(sample >> shift & 1, odds):
                value += 1 << shift
                below = middle_mass
            else:
                above = middle_mass
        return value


@lru_cache(maxsize=1)
def _whole_curve() -> tuple[int, ...]:
    """The logistic curve for every argument that can occur, negative ones counted from the end.

    Flat tails cost a megabyte and spare two comparisons in the innermost loop.
    """
    table = load_prior().sigmoid
    edge = SIGMOID_RANGE * SIGMOID_STEPS
    tail = _CURVE_REACH - edge
    return (*table[edge:], *(table[-1],) * tail, *(table[0],) * tail, *table[:edge])


class _Lanes:
    """Takes packed sums apart. All lanes are worked on at once, as digits of one integer."""

    def __init__(self, count: int) -> None:
        self.bits = LANE_BITS * count
        self._struct = Struct(f"<{count}I")
        self._all = (1 << self.bits) - 1
        self._ones = self._all // ((1 << LANE_BITS) - 1)
        self._signs = self._ones << LANE_BITS - 1

    def split(self, packed: int) -> tuple[int, ...]:
        """The lanes, each with LANE_ZERO still added."""
        return self._struct.unpack((packed & self._all).to_bytes(self._struct.size, "little"))

    def rectify(self, packed: int, shift: int) -> tuple[int, ...]:
        """The lanes x >> `shift`, cut to [0, 8191]."""
        ones, signs = self._ones, self._signs
        positive = packed & signs
        # A lane that is not negative gets 31 ones below its sign bit, the others none.
        packed &= positive - (positive >> LANE_BITS - 1)
        packed = packed >> shift & ones * ((1 << LANE_BITS - 1 - shift) - 1)
        over = (packed + ones * (LANE_ZERO - _HIDDEN_TOP - 1)) & signs
        if over:
            full = over >> LANE_BITS - 1
            packed = packed & ~(over - full) | full * _HIDDEN_TOP
        return self._struct.unpack(packed.to_bytes(self._struct.size, "little"))


_OUTPUTS = _Lanes(OUTPUTS)
