"""The frozen numbers behind pixel blocks, read once from pixels_prior.bin; layout in docs/bitstream.md.

They are part of format version 1: another set of numbers would be another version.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

LANE_BITS = 32
LANE_ZERO = 1 << (LANE_BITS - 1)
"""Added to every packed sum, so that no lane is negative and none borrows from the next."""

COMPONENTS = 3
"""Logistic curves in the mixture that a network describes; three outputs each."""
OUTPUTS = 3 * COMPONENTS
BASE_INPUTS = 53
"""Inputs of the first channel's network; each later channel sees the blocks before it as well."""

SIGMOID_RANGE = 12
SIGMOID_STEPS = 64
"""The logistic curve is tabulated in steps of 1/64 for arguments in [-12, 12]."""
EXP_SIZE = 290
"""exp(-i/32) x 4096 for i below this; the last is zero and stands for all that follow."""
SCALE_SIZE = 187
"""Scales are 8 exp(i/32) grey levels for i in [-103, 83]; the table holds 65536 over that."""
PLAIN_SHAPE = (8, 3, 16)
"""Scale of the plain model by level, channel and activity."""


@dataclass(frozen=True)
class ChannelNetwork:
    """One network, each row of weights packed into one integer of 32-bit lanes.

    Multiplying a row by an input and adding the products up is then one dot product for all units at once. The
    skip weights (input to output) ride in the last lanes of `first`.
    """

    first: tuple[int, ...]
    first_bias: int
    second: tuple[int, ...]
    second_bias: int
    third: tuple[int, ...]
    third_bias: int


@dataclass(frozen=True)
class NetworkSet:
    """The three networks for grids of one size class; `hidden` is how many units their two layers have."""

    hidden: tuple[int, int]
    networks: tuple[ChannelNetwork, ...]


@dataclass(frozen=True)
class PixelPrior:
    """Everything in the file."""

    fine: NetworkSet
    quick: NetworkSet
    sigmoid: tuple[int, ...]
    exponential: tuple[int, ...]
    inverse_scale: tuple[int, ...]
    plain_scale: tuple[int, ...]


@lru_cache(maxsize=1)
def load_prior() -> PixelPrior:
    """The prior; takes some hundredths of a second the first time and nothing afterwards."""
    return parse_prior(files("codec.bitstream").joinpath("pixels_prior.bin").read_bytes())


def parse_prior(data: bytes) -> PixelPrior:
    """Read the layout of pixels_prior.bin; raises struct.error or ValueError when it is another file."""
    reader = _Reader(data)
    levels, channels, activities = PLAIN_SHAPE
    prior = PixelPrior(
        _read_set(reader),
        _read_set(reader),
        reader.take("I", 2 * SIGMOID_RANGE * SIGMOID_STEPS + 1),
        reader.take("H", EXP_SIZE),
        reader.take("I", SCALE_SIZE),
        reader.take("B", levels * channels * activities),
    )
    reader.expect_end()
    return prior


def _read_set(reader: "_Reader") -> NetworkSet:
    first, second = reader.take("H", 2)
    networks = []
    for channel in range(3):
        inputs = BASE_INPUTS + channel
        weights_1 = reader.rows("h", inputs, first)
        skips = reader.rows("h", inputs, OUTPUTS)
        bias_1 = reader.take("i", first)
        weights_2, bias_2 = reader.rows("h", first, second), reader.take("i", second)
        weights_3, bias_3 = reader.rows("h", second, OUTPUTS), reader.take("i", OUTPUTS)
        networks.append(
            ChannelNetwork(
                tuple(_lanes((*row, *skip)) for row, skip in zip(weights_1, skips, strict=True)),
                _lanes((*bias_1, *(0,) * OUTPUTS)) + _zeros(first + OUTPUTS),
                tuple(map(_lanes, weights_2)),
                _lanes(bias_2) + _zeros(second),
                tuple(map(_lanes, weights_3)),
                _lanes(bias_3) + _zeros(OUTPUTS),
            )
        )
    return NetworkSet((first, second), tuple(networks))


class _Reader:
    """Takes little-endian numbers off a byte string, one run after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, kind: str, count: int) -> tuple[int, ...]:
        layout = f"<{count}{kind}"
        values = struct.unpack_from(layout, self._data, self._position)
        self._position += struct.calcsize(layout)
        return values

    def rows(self, kind: str, count: int, width: int) -> list[tuple[int, ...]]:
        return [self.take(kind, width) for _ in range(count)]

    def expect_end(self) -> None:
        if self._position != len(self._data):
            raise ValueError("pixels_prior.bin has bytes after its last table")


def _lanes(values: Sequence[int]) -> int:
    """The sum of value x 2**(32 lane): exact for signed values too, as long as sums stay within 31 bits a lane."""
    packed = int.from_bytes(struct.pack(f"<{len(values)}I", *(value + LANE_ZERO for value in values)), "little")
    return packed - _zeros(len(values))


def _zeros(count: int) -> int:
    return LANE_ZERO * (((1 << (LANE_BITS * count)) - 1) // ((1 << LANE_BITS) - 1))
