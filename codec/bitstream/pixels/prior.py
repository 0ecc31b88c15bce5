"""The frozen numbers behind pixel blocks, read once from prior.bin; layout in docs/bitstream.md.

They are part of format version 1: another set of numbers would be another version.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

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
SCALE_SIZE, SCALE_ZERO = 187, 103
"""Scales are 8 exp(i/32) grey levels for i in [-103, 83]; the table holds 65536 over that."""
PLAIN_SHAPE = (8, 3, 16)
"""Scale of the plain model by level, channel and activity."""


Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChannelNetwork:
    """One network as it stands in the file: a row of weights for each input, a column for each unit."""

    first: Integers
    skips: Integers
    """Straight from the inputs to the outputs."""
    first_bias: Integers
    second: Integers
    second_bias: Integers
    third: Integers
    third_bias: Integers


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


PRIOR_SHA256 = "ab3ae92c69896fa83188f463245ffe3093e9c22b9de5be30f4097c5df4b91378"
"""Digest of prior.bin. Another file would decode blocks to other samples, so it is checked on loading."""


@lru_cache(maxsize=1)
def load_prior() -> PixelPrior:
    """Return the prior of this version, read once in a process, which takes some hundredths of a second.

    Raises RuntimeError when the shipped file is not the one that the format is defined by.
    """
    data = files("codec.bitstream.pixels").joinpath("prior.bin").read_bytes()
    if hashlib.sha256(data).hexdigest() != PRIOR_SHA256:
        raise RuntimeError("pixels/prior.bin is damaged: its SHA-256 is not the pinned one; install again")
    return parse_prior(data)


def parse_prior(data: bytes) -> PixelPrior:
    """Read the layout of prior.bin; raises ValueError when it is another file."""
    reader = _Reader(data)
    levels, channels, activities = PLAIN_SHAPE
    prior = PixelPrior(
        _read_set(reader),
        _read_set(reader),
        tuple(reader.take("u4", 2 * SIGMOID_RANGE * SIGMOID_STEPS + 1).tolist()),
        tuple(reader.take("u2", EXP_SIZE).tolist()),
        tuple(reader.take("u4", SCALE_SIZE).tolist()),
        tuple(reader.take("u1", levels * channels * activities).tolist()),
    )
    reader.expect_end()
    return prior


def _read_set(reader: "_Reader") -> NetworkSet:
    first, second = reader.take("u2", 2).tolist()
    return NetworkSet((first, second), tuple(_read_network(reader, BASE_INPUTS + i, first, second) for i in range(3)))


def _read_network(reader: "_Reader", inputs: int, first: int, second: int) -> ChannelNetwork:
    return ChannelNetwork(
        first=reader.rows("i2", inputs, first),
        skips=reader.rows("i2", inputs, OUTPUTS),
        first_bias=reader.take("i4", first),
        second=reader.rows("i2", first, second),
        second_bias=reader.take("i4", second),
        third=reader.rows("i2", second, OUTPUTS),
        third_bias=reader.take("i4", OUTPUTS),
    )


class _Reader:
    """Takes little-endian numbers off a byte string, one run after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, kind: str, count: int) -> Integers:
        values = np.frombuffer(self._data, f"<{kind}", count, self._position)
        self._position += values.nbytes
        return values.astype(np.int64)

    def rows(self, kind: str, count: int, width: int) -> Integers:
        return self.take(kind, count * width).reshape(count, width)

    def expect_end(self) -> None:
        if self._position != len(self._data):
            raise ValueError("pixels/prior.bin has bytes after its last table")
