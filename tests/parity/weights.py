"""Weights and inputs that an integer hash makes from their names, so that parity tests need no stored networks."""

from math import prod, sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def _units(key: str, count: int) -> NDArray[np.float64]:
    """`count` values in (-1, 1): SplitMix64 over the index, offset by the CRC-32 of `key`."""
    x = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(crc32(key.encode()))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53 * 2.0 - 1.0


def hashed(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The parameter that `key` of an original checkpoint stands for, float32 of `shape`.

    Matrices and kernels keep the variance of their inputs, scales lie around one, everything else is small.
    """
    units = _units(key, prod(shape)).reshape(shape)
    if len(shape) >= 2:
        value = units * sqrt(3.0 / prod(shape[1:]))
    elif key.endswith("weight"):
        value = 1.0 + 0.1 * units
    else:
        value = 0.02 * units
    return np.asarray(value, dtype=np.float32)


def uniform(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The unscaled values in (-1, 1) of the input named `key` (without `.flat`), float64 of `shape`.

    Scale and shift in float64 and cast last, as the figures were made.
    """
    return _units(f"{key}.flat", prod(shape)).reshape(shape)
