"""The context model by wavefronts gives what going position by position gives."""

import numpy as np
import pytest

from codec.nets.compression.fixed_point import UNIT, Floats, exact_linear
from codec.nets.compression.tables import Integers
from codec.nets.compression.wavefront import TAPS, ContextModel

CHANNELS = 3


def _model(generator: np.random.Generator) -> ContextModel:
    def layer(inputs: int, outputs: int, slope: float) -> object:
        weights = generator.standard_normal((outputs, inputs)) / inputs**0.5
        return exact_linear(weights, generator.standard_normal(outputs), slope)

    first = layer((2 + len(TAPS)) * CHANNELS, 10, 0.01)
    return ContextModel(first, (layer(10, 8, 0.01), layer(8, 2 * CHANNELS, 1.0)))


def _one_by_one(model: ContextModel, hyper: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    rows, columns, _ = hyper.shape
    latent = np.zeros((rows, columns, CHANNELS))
    for row in range(rows):
        for column in range(columns):
            neighbours = np.zeros((len(TAPS), CHANNELS))
            for tap, (down, right) in enumerate(TAPS):
                if row + down >= 0 and 0 <= column + right < columns:
                    neighbours[tap] = latent[row + down, column + right]
            values = np.concatenate([hyper[row, column], neighbours.ravel()])[None]
            for layer in (model.first, *model.rest):
                values = layer(values)
            means = values[0, CHANNELS:]
            latent[row, column] = np.rint(wanted[row, column] - means / UNIT) * UNIT + means
    return latent


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (4, 11), (7, 8)])
def test_wavefronts_give_what_single_positions_give(rows: int, columns: int) -> None:
    generator = np.random.default_rng(rows * 100 + columns)
    model = _model(generator)
    hyper = generator.integers(-5 * UNIT, 5 * UNIT, (rows, columns, 2 * CHANNELS)).astype(np.int32)
    wanted = generator.standard_normal((rows, columns, CHANNELS)) * 4
    seen = np.zeros((rows, columns), dtype=int)

    def settle(on_rows: Integers, on_columns: Integers, scales: Floats, means: Floats) -> Integers:
        seen[on_rows, on_columns] += 1
        return np.rint(wanted[on_rows, on_columns] - means / UNIT).astype(np.int64)

    latent = model.run(hyper, settle)

    assert (seen == 1).all()
    assert (latent == _one_by_one(model, hyper, wanted)).all()
    assert np.abs(latent).max() > 0
