"""Elementary functions that give the same float64 on every machine, for making probability tables.

Maths libraries differ in the last bit between versions and instruction sets. These use only IEEE additions,
multiplications, divisions and powers of two, one element at a time and in a fixed order. None is meant to be fast.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LN2_HIGH = 0.693147180369123816490
"""Upper 33 bits of ln 2, so that a whole multiple of it is exact."""
_LN2_LOW = 1.90821492927058770002e-10
_ONE_OVER_LN2 = 1.44269504088896338700
_ONE_OVER_ROOT_TWO_PI = 0.39894228040143267794

_EXP_TERMS = 14
"""Beyond |r| = ln 2 / 2 ** the 14th term is under 2**-60."""
_LOG_TERMS = 20
_NORMAL_TERMS = 160
"""Enough for 9 standard deviations at full precision."""


def exp(x: Floats) -> Floats:
    """e**x, with x cut to [-700, 700]."""
    x = np.clip(x, -700.0, 700.0)
    power = np.rint(x * _ONE_OVER_LN2)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    series = np.ones_like(rest)
    for term in range(_EXP_TERMS, 0, -1):
        series = series * rest / term + 1.0
    scaled: Floats = np.ldexp(series, power.astype(np.int32))
    return scaled


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e**-x)."""
    return 1.0 / (1.0 + exp(-x))


def tanh(x: Floats) -> Floats:
    """The hyperbolic tangent."""
    small = exp(-2.0 * np.abs(x))
    return np.copysign((1.0 - small) / (1.0 + small), x)


def softplus(x: Floats) -> Floats:
    """ln(1 + e**x), by the series of the inverse hyperbolic tangent for the logarithm of a value in (1, 2]."""
    above_one = exp(-np.abs(x))
    ratio = above_one / (2.0 + above_one)
    square = ratio * ratio
    series = np.zeros_like(ratio)
    for term in range(_LOG_TERMS, -1, -1):
        series = series * square + 1.0 / (2 * term + 1)
    result: Floats = np.maximum(x, 0.0) + 2.0 * ratio * series
    return result


def normal_mass(x: Floats) -> Floats:
    """The mass of the standard normal distribution between 0 and x >= 0, cut at 9.

    phi(x) * (x + x^3 / 3 + x^5 / (3 * 5) + ...): all terms are positive, so nothing cancels.
    """
    x = np.clip(x, 0.0, 9.0)
    term, total = x, x
    for odd in range(3, 2 * _NORMAL_TERMS, 2):
        term = term * x * x / odd
        total = total + term
    return _ONE_OVER_ROOT_TWO_PI * exp(-0.5 * x * x) * total
