"""Probabilities in the logistic domain, in integers: squash and stretch as tables, for models that mix predictions.

Nothing here rounds differently on another machine: the tables come from integer arithmetic alone.
"""

UNIT = 256
"""One unit of the natural logarithm of the odds; a stretched probability of 256 is odds of e to 1."""

LIMIT = 10 * UNIT
"""Stretched probabilities lie in [-LIMIT, LIMIT]; 10 units are odds of 22,026 to 1."""

_SHIFT = 64
# exp(1 / UNIT) with 64 fractional bits: the power series, cut where a term no longer reaches the last bit.
_TERMS = [1 << _SHIFT]
while _TERMS[-1]:
    _TERMS.append(_TERMS[-1] // (UNIT * len(_TERMS)))
_EXP_STEP = sum(_TERMS)


def _squash_table() -> list[int]:
    upper = []
    odds = 1 << _SHIFT
    for _ in range(LIMIT + 1):
        upper.append((odds << 16) // (odds + (1 << _SHIFT)))
        odds = odds * _EXP_STEP >> _SHIFT
    table = [65536 - p for p in reversed(upper[1:])] + upper
    return [min(max(p, 1), 65535) for p in table]


def _stretch_table(squash: list[int]) -> list[int]:
    table = []
    index = 0
    for q in range(4096):
        while index < 2 * LIMIT and squash[index] < q * 16 + 8:
            index += 1
        table.append(index - LIMIT)
    return table


SQUASH: list[int] = _squash_table()
"""SQUASH[x + LIMIT] is the probability x 65536, in [1, 65535], of the stretched probability x."""

STRETCH: list[int] = _stretch_table(SQUASH)
"""STRETCH[q] is the stretched probability of (q + 1/2) / 4096, for q in [0, 4095]; squash's inverse."""


def log_table(size: int, offset: int) -> list[int]:
    """Return round(UNIT x ln(n + offset / UNIT)) for n in [0, size), the logarithm of a count that may be zero.

    `offset` in [1, UNIT]. Found by stepping through the powers of exp(1 / UNIT), so that it is exact in integers.
    """
    table = []
    x = 0
    power = 1 << _SHIFT
    while power * UNIT > offset << _SHIFT:
        power = (power << _SHIFT) // _EXP_STEP
        x -= 1
    for n in range(size):
        target = (n * UNIT + offset << _SHIFT) // UNIT
        while power < target:
            power = power * _EXP_STEP >> _SHIFT
            x += 1
        table.append(x)
    return table
