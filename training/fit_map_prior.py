"""Fit codec/bitstream/maps/prior.py: how often a bit of a map is set, by what stands around it.

    python -m training.fit_map_prior PICTURES OUT.py

Each context gets the beta distribution that explains best how its bits fall from picture to picture: its mean is where
the coder starts, its weight is how slowly the coder gives that up.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln

from codec.bitstream.maps.payload import CONTEXTS, COUNT_UNIT, bits_in_contexts
from codec.bitstream.stream import Maps
from codec.encode.describe.local import describe_locally
from codec.encode.locate.masks import masks_from_maps
from codec.picture.open import open_picture
from training.pixel_features import pictures_in

_MOST_WEIGHT = 24.0
"""Bits that a prior may count for. Maps made by other means fall otherwise, and a heavier prior would never yield."""

_LEAST_SHARE = 0.08
"""No side of a context starts below this many bits, for the same reason."""

_HEAD = '''"""The frozen counts that the map coder starts from, part of version 1; by training/fit_map_prior.py."""

# fmt: off
COUNTS = (
'''


def counts_by_context(every: list[Maps]) -> dict[int, npt.NDArray[Any]]:
    """For each context, (pictures, 2) zeros and ones that the pictures have in it."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for maps in every:
        counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for context, bit in bits_in_contexts(maps):
            counts[context][bit] += 1
        for context, (zeros, ones) in counts.items():
            found[context].append((zeros, ones))
    return {context: np.array(counts) for context, counts in found.items()}


def fit_beta(counts: npt.NDArray[Any]) -> tuple[float, float]:
    """The zeros and ones of the beta prior under which (pictures, 2) `counts` are the likeliest."""
    zeros, ones = counts[:, 0], counts[:, 1]

    def surprise(logs: npt.NDArray[Any]) -> float:
        a, b = np.exp(logs)
        # A weak pull towards even odds of weight 1 settles contexts that hardly ever occur.
        return float(-(betaln(a + zeros, b + ones) - betaln(a, b)).sum() + 0.05 * (logs**2).sum())

    a, b = np.exp(minimize(surprise, np.zeros(2), method="Nelder-Mead").x)
    shrink = min(1.0, _MOST_WEIGHT / (a + b))
    return max(a * shrink, _LEAST_SHARE), max(b * shrink, _LEAST_SHARE)


def main() -> None:
    """Describe every picture of a folder and fit the prior to its maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    every = [
        masks_from_maps(maps)
        for path in pictures_in(arguments.pictures)
        if (maps := describe_locally(open_picture(path)).maps)
    ]
    write_prior(every, arguments.out)


def write_prior(every: list[Maps], out: Path) -> None:
    """Fit every context and write the module."""
    counts = counts_by_context(every)
    rows = []
    for context in range(CONTEXTS):
        zeros, ones = fit_beta(counts[context]) if context in counts else (1.0, 1.0)
        rows.append((max(1, round(zeros * COUNT_UNIT)), max(1, round(ones * COUNT_UNIT))))
    lines = [f"    {', '.join(map(str, rows[start : start + 8]))},\n" for start in range(0, len(rows), 8)]
    tail = ')\n"""Zeros and ones of each context, in sixteenths of a bit."""\n'
    out.write_text(_HEAD + "".join(lines) + tail)


if __name__ == "__main__":
    main()
