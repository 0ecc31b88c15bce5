"""The functions behind the odds of pixel blocks, as tables of whole numbers for one block and for many at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np

from codec.bitstream.pixels.prior import (
    EXP_SIZE,
    SCALE_ZERO,
    SIGMOID_RANGE,
    SIGMOID_STEPS,
    Integers,
    load_prior,
)

Number = TypeVar("Number", int, Integers)
"""One block's number, or an array of many blocks'. What is written for it serves the reader, which goes block by
block, and the writer, which has all blocks at once, so that the two cannot drift apart."""

CURVE_REACH = 76_000
"""Above 384 x 64 times the largest inverse scale over 65536: no argument of the logistic curve lies further out."""

OUTPUT_REACH = 20_000
"""No output of the shipped networks lies further out, in units of 2**15."""


def log16(value: int) -> int:
    """Sixteen times the binary logarithm of `value` >= 1, piecewise linear between powers of two."""
    whole = value.bit_length() - 1
    return 16 * whole + ((value << 4 >> whole) & 15)


class Table(Protocol[Number]):
    """A tuple of integers, or an array of them."""

    def __getitem__(self, index: Number, /) -> Number:
        """The value for an argument, or for each of many."""


@dataclass(frozen=True)
class Tables(Generic[Number]):
    """Tuples and plain functions for one block, arrays and numpy's functions for many.

    Each table has an entry for every argument that can occur, negative ones counted from the end. Where a function
    goes on flat that costs some megabytes, and spares two comparisons a look-up in the innermost loops.
    """

    grey: Table[Number]
    """Values cut to [0, 255]."""
    log_around: Table[Number]
    log_overall: Table[Number]
    exponential: Table[Number]
    inverse_scale: Table[Number]
    curve: Table[Number]
    least: Callable[[Number, Number | int], Number]
    most: Callable[[Number, Number | int], Number]


@lru_cache(maxsize=1)
def tables_for_one() -> Tables[int]:
    """Tables for plain integers."""
    prior = load_prior()
    return Tables(
        grey=_extended(tuple(range(256)), 0, 512),
        log_around=tuple(log16(1 + value) - 48 for value in range(4 * 255 + 1)),
        log_overall=tuple(log16(1 + value) - 80 for value in range(16 * 510 + 128 + 1)),
        exponential=(*prior.exponential, *(0,) * (2 * OUTPUT_REACH - EXP_SIZE)),
        inverse_scale=_extended(prior.inverse_scale, SCALE_ZERO, OUTPUT_REACH),
        curve=_extended(prior.sigmoid, SIGMOID_RANGE * SIGMOID_STEPS, CURVE_REACH),
        least=min,
        most=max,
    )


@lru_cache(maxsize=1)
def tables_for_many() -> Tables[Integers]:
    """The same for arrays."""
    one = tables_for_one()
    names = ("grey", "log_around", "log_overall", "exponential", "inverse_scale", "curve")
    return Tables(**{name: np.array(getattr(one, name)) for name in names}, least=np.minimum, most=np.maximum)


def _extended(table: tuple[int, ...], zero: int, reach: int) -> tuple[int, ...]:
    """A table, whose entry `zero` is for the argument 0, carried on flat to all arguments in [-reach, reach]."""
    up = (*table[zero:], *(table[-1],) * (reach + 1 - len(table) + zero))
    return (*up, *(table[0],) * (reach - zero), *table[:zero])
