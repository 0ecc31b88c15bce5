"""The networks of pixel blocks, one a channel, and the odds that their outputs mean.

Every number is a whole one, or becomes one when its shift is undone: sums of products are added up in float64, which
holds all their digits, so that they are exact in any order and on every machine.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codec.bitstream.coding.rangecoder import PROBABILITY_BITS
from codec.bitstream.pixels.inputs import NEIGHBOURS
from codec.bitstream.pixels.prior import OUTPUTS, ChannelNetwork, Integers, load_prior
from codec.bitstream.pixels.tables import Number, Table, Tables

Floats = npt.NDArray[np.float64]

MAX_FINE_SAMPLES = 4608
"""Up to 48x32 blocks the large networks code the samples, beyond it the small ones; part of the format."""

LEAST_ODDS = 24
"""No decision gets less than this of 65536: a surprise costs at most 12 bits, and a zero width is impossible."""
MOST_ODDS = (1 << PROBABILITY_BITS) - LEAST_ODDS
EVEN_ODDS = 1 << (PROBABILITY_BITS - 1)
"""Those of a decision where no mass is left on either side."""

_FIRST_SHIFT, _SECOND_SHIFT, _SKIP_SHIFT = 7, 12, 3
_HIDDEN_TOP = 8191
"""Hidden units are cut off here (32.0)."""
_CENTRE_FIRST, _CENTRE_LAST = -128 << 6, 384 << 6
"""Centres of the curves, in 1/64 grey level, are kept this near to what a sample can be."""

BLOCKS_TOGETHER = 24
"""How many go into one product of matrices. With more of them the BLAS library would wake further threads, which
cost more than they bring and, with several encodes at once, fight for the processor."""


class Network:
    """One channel's weights, in the order in which the code has the inputs, with the shifts of their layers in them.

    Hidden units, a one for the second layer's biases, and the inputs' direct share of the outputs come from one
    product, in this order.
    """

    def __init__(self, given: ChannelNetwork) -> None:
        units = given.first.shape[1]
        first, skips = given.first * 0.5**_FIRST_SHIFT, given.skips << _SKIP_SHIFT
        weights = np.concatenate((first, np.zeros((len(first), 1)), skips), axis=1)
        biases = np.concatenate((given.first_bias * 0.5**_FIRST_SHIFT, [1], given.third_bias))
        around = weights[: 3 * len(NEIGHBOURS)].reshape(3, len(NEIGHBOURS), -1)
        middles, activities, errors, overall, place, steps = np.split(weights[30:], [3, 6, 9, 14, 23])
        above = [around[channel, i] for i, (_, dy) in enumerate(NEIGHBOURS) if dy for channel in range(3)]
        in_row: list[Floats] = []
        for channel in range(3):
            in_row += [around[channel, i] for i, (_, dy) in enumerate(NEIGHBOURS) if not dy]
            # The file's weights are for neighbours less the middle; here the middle is an input of its own.
            in_row += [-around[channel].sum(axis=0), middles[channel], activities[channel], errors[channel]]
        self.hidden = units
        self.above: Floats = np.array([*above, *place, biases])
        self.in_row: Floats = np.array([*in_row, *overall, *steps])
        self.second: Floats = np.concatenate((given.second, given.second_bias[None])) * 0.5**_SECOND_SHIFT
        self.third: Floats = given.third.astype(np.float64)

    def outputs(self, sums_above: Floats, in_row: Floats) -> Integers:
        """The nine outputs of many blocks, in units of 2**-20: (blocks, 9).

        `sums_above`: this network's part of `Networks.sums_above`. `in_row`: (blocks, 23 and one for each channel
        before), three times `inputs_in_row`, five times `overall_input`, and the channels' steps from their middles.
        """
        count = len(in_row)
        together = min(count, BLOCKS_TOGETHER)
        found = np.empty((count, OUTPUTS), np.int64)
        evaluation = Evaluation(self, (together,))
        for start in range(0, count, together):
            # The last blocks may be worked on twice, which is simpler than buffers of another size.
            part = slice(min(start, count - together), min(start + together, count))
            found[part] = evaluation.run(sums_above[part], in_row[part])
        return found


class Networks:
    """The three networks for grids of one size class."""

    def __init__(self, given: Iterable[ChannelNetwork]) -> None:
        self.channels = tuple(map(Network, given))

    def sums_above(self, inputs: Integers) -> Floats:
        """What `Above.inputs`, (blocks, 34), contribute to each network's first product: (3, blocks, sums)."""
        floats = inputs.astype(np.float64)
        sums = np.empty((len(self.channels), len(floats), self.channels[0].above.shape[1]))
        for network, of_network in zip(self.channels, sums, strict=True):
            for start in range(0, len(floats), BLOCKS_TOGETHER):
                floats[start : start + BLOCKS_TOGETHER].dot(network.above, of_network[start : start + BLOCKS_TOGETHER])
        return sums


class Evaluation:
    """Buffers in which a network is evaluated again and again; of `shape` () for one block or (n,) for n."""

    def __init__(self, network: Network, shape: tuple[int, ...]) -> None:
        self._weights = network.in_row, network.second, network.third
        self._sums = np.empty((*shape, network.in_row.shape[1]))
        self._hidden, self._hidden_and_one = self._sums[..., : network.hidden], self._sums[..., : network.hidden + 1]
        self._skips = self._sums[..., network.hidden + 1 :]
        self._second_hidden = np.empty((*shape, network.second.shape[1]))
        self._outputs = np.empty((*shape, OUTPUTS))
        # Whole arrays, because numpy takes twice as long to compare with a single number.
        self._bounds, self._second_bounds = (
            (np.zeros(units.shape), np.full(units.shape, float(_HIDDEN_TOP)))
            for units in (self._hidden, self._second_hidden)
        )

    def run(self, sums_above: Floats, in_row: Floats) -> Floats:
        """The nine outputs, which are valid until the next call; for the parameters see `Network.outputs`."""
        first, second, third = self._weights
        np.add(in_row.dot(first, self._sums), sums_above, self._sums)
        _rectify(self._hidden, *self._bounds)
        _rectify(self._hidden_and_one.dot(second, self._second_hidden), *self._second_bounds)
        return np.add(self._second_hidden.dot(third, self._outputs), self._skips, self._outputs)


def _rectify(units: Floats, zeros: Floats, tops: Floats) -> None:
    np.floor(units, units)
    np.maximum(units, zeros, units)
    np.minimum(units, tops, units)


def networks_for(samples: int) -> Networks:
    """The networks of a grid of so many samples."""
    return _networks(samples <= MAX_FINE_SAMPLES)


@lru_cache(maxsize=2)
def _networks(fine: bool) -> Networks:
    prior = load_prior()
    return Networks((prior.fine if fine else prior.quick).networks)


def mixture(tables: Tables[Number], outputs: Iterable[Number], middle: Number) -> tuple[Number, ...]:
    """The three curves that a network's outputs mean: three weights, three centres and three inverse scales."""
    least, most, exponential, inverse_scale = tables.least, tables.most, tables.exponential, tables.inverse_scale
    weight_0, weight_1, weight_2, centre_0, centre_1, centre_2, scale_0, scale_1, scale_2 = outputs
    strongest = most(most(weight_0, weight_1), weight_2)
    fine_middle = middle << 6
    return (
        exponential[strongest - weight_0 >> 15],
        exponential[strongest - weight_1 >> 15],
        exponential[strongest - weight_2 >> 15],
        most(least(fine_middle + (centre_0 >> 11), _CENTRE_LAST), _CENTRE_FIRST),
        most(least(fine_middle + (centre_1 >> 11), _CENTRE_LAST), _CENTRE_FIRST),
        most(least(fine_middle + (centre_2 >> 11), _CENTRE_LAST), _CENTRE_FIRST),
        inverse_scale[scale_0 >> 15],
        inverse_scale[scale_1 >> 15],
        inverse_scale[scale_2 >> 15],
    )


def mass_below(curve: Table[Number], curves: tuple[Number, ...], edge: Number) -> Number:
    """How much of a mixture lies below `edge`, in 1/64 grey level."""
    weight_0, weight_1, weight_2, centre_0, centre_1, centre_2, inverse_0, inverse_1, inverse_2 = curves
    mass: Number = (
        weight_0 * curve[(edge - centre_0) * inverse_0 >> 16]
        + weight_1 * curve[(edge - centre_1) * inverse_1 >> 16]
        + weight_2 * curve[(edge - centre_2) * inverse_2 >> 16]
    )
    return mass
