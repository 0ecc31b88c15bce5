"""The highest quality whose file fits a number of bytes, in few trial encodings. Knows no codec and keeps no files."""

import math
from collections.abc import Callable

_LEAST_GROWTH = 1e-3
"""So that two files of equal size do not make a line without an end."""


class RateSearch:
    """Looks for a quality by a model of bytes over quality, which each trial corrects.

    The model: the logarithm of the bytes is a line, through the two known files around the limit where there are two,
    else through one and of a given slope. Two to four trials are usual where a bisection needs seven.
    """

    def __init__(self, size_of: Callable[[int], int | None], lowest: int, highest: int, growth: float) -> None:
        """`size_of` makes a file of a quality in [lowest, highest] and gives its bytes, None where that cannot be done.
        `growth`: by how much the logarithm of the bytes rises with a step of quality."""
        self._size_of, self._lowest, self._highest, self._growth = size_of, lowest, highest, growth
        self._sizes: dict[int, int | None] = {}

    def size(self, quality: int) -> int | None:
        """Bytes of a quality's file; each is made once."""
        if quality not in self._sizes:
            self._sizes[quality] = self._size_of(quality)
        return self._sizes[quality]

    def highest_within(self, limit: int, first: int) -> int | None:
        """The highest quality whose file has at most `limit` bytes, tried from `first` on; None where none fits.

        Bytes that fall with rising quality here and there do not mislead it: a quality that fits is returned whose next
        one was tried and does not.
        """
        while True:
            fitting = [quality for quality, size in self._sizes.items() if size is not None and size <= limit]
            below = max(fitting, default=self._lowest - 1)
            above = min((quality for quality in self._sizes if quality > below), default=self._highest + 1)
            if above == below + 1:
                return below if below >= self._lowest else None
            step = self._predicted(limit, below, above, first)
            self.size(min(max(step, below + 1), above - 1))

    def _predicted(self, limit: int, below: int, above: int, first: int) -> int:
        """The highest quality that the model lets fit."""
        logs = {quality: math.log(size) for quality in (below, above) if (size := self._sizes.get(quality))}
        if not logs:
            return first
        start, growth = next(iter(logs)), self._growth
        if len(logs) == 2:
            growth = max((logs[above] - logs[below]) / (above - below), _LEAST_GROWTH)
        return math.floor(start + (math.log(max(limit, 1)) - logs[start]) / growth)
