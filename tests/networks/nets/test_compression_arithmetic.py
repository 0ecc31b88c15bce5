"""The parts of learned codecs that every machine must compute alike: functions, tables, sums, the entropy coder."""

import hashlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from codec.errors import StreamCorrupt, StreamError, StreamTruncated, WeightsCorrupt
from codec.nets.compression import portable_math, rans
from codec.nets.compression.fixed_point import (
    LIMIT,
    UNIT,
    exact_composition,
    exact_convolution,
    exact_linear,
    exact_transposed_convolution,
)
from codec.nets.compression.latents import table_indexes
from codec.nets.compression.tables import SCALES, gaussian_tables, learned_tables, scale_table

CHECK = 0x1234ABCD


def test_steady_functions_agree_with_the_maths_library_to_its_last_bits() -> None:
    values = np.linspace(-30.0, 30.0, 4001)

    assert np.allclose(portable_math.exp(values), [math.exp(v) for v in values], rtol=1e-15, atol=0)
    assert np.allclose(portable_math.tanh(values), [math.tanh(v) for v in values], rtol=1e-14, atol=1e-15)
    assert np.allclose(
        portable_math.softplus(values), [math.log1p(math.exp(-abs(v))) + max(v, 0) for v in values], rtol=1e-14
    )
    assert np.allclose(
        portable_math.normal_mass(np.abs(values) / 4),
        [math.erf(abs(v) / 4 / math.sqrt(2)) / 2 for v in values],
        atol=1e-14,
    )


def test_gaussian_tables_are_the_frozen_ones() -> None:
    tables = gaussian_tables()

    frozen = np.concatenate([tables.low, tables.high, tables.first, tables.starts]).astype("<i4").tobytes()
    assert hashlib.sha256(frozen).hexdigest() == "8bdf89ce22c8037dd800af675aa99b6c4847ec4d95048ebfb627ac3a2a4dad97"


def test_gaussian_tables_cost_what_the_distribution_must_cost() -> None:
    tables = gaussian_tables()
    for index in range(8, SCALES, 5):
        scale = float(scale_table()[index])
        values = np.arange(tables.low[index], tables.high[index] + 1)
        masses = np.array(
            [(math.erf((v + 0.5) / scale / 2**0.5) - math.erf((v - 0.5) / scale / 2**0.5)) / 2 for v in values]
        )
        frequencies = np.diff(tables.lookups[index][1])[:-1] / 65536
        excess = float((masses * np.log2(masses / frequencies)).sum() / -(masses * np.log2(masses)).sum())
        assert masses.sum() > 1 - 1e-5
        assert excess < 0.005


def test_scales_choose_the_nearest_table() -> None:
    scales = scale_table()

    assert (table_indexes(np.rint(scales * UNIT)) == np.arange(SCALES)).all()
    assert table_indexes(np.array([-5.0 * UNIT, 0.0, 300.0 * UNIT])).tolist() == [0, 0, SCALES - 1]
    between = math.sqrt(scales[30] * scales[31]) * UNIT
    assert table_indexes(np.array([math.floor(between), math.floor(between) + 1])).tolist() == [30, 31]


def test_learned_tables_follow_the_distribution_of_the_weights() -> None:
    # Matrices that multiply by 1 and nothing else make the logistic distribution.
    one = math.log(math.expm1(1.0))
    third = math.log(math.expm1(1.0 / 3.0))
    widths = [1, 3, 3, 3, 3, 1]
    weights = {}
    for layer in range(5):
        shape = (1, widths[layer + 1], widths[layer])
        weights[f"matrices.{layer}"] = np.full(shape, one if layer == 0 else third)
        weights[f"biases.{layer}"] = np.zeros((1, widths[layer + 1], 1))
        weights[f"factors.{layer}"] = np.zeros((1, widths[layer + 1], 1))

    tables = learned_tables(weights, np.array([0.25]))

    def mass(value: int) -> float:
        return 1 / (1 + math.exp(-(value + 0.75))) - 1 / (1 + math.exp(-(value - 0.25)))

    frequencies = np.diff(tables.lookups[0][1])
    for value in range(-4, 5):
        assert frequencies[value - tables.low[0]] / 65536 == pytest.approx(mass(value), rel=0.01)
    assert frequencies.sum() == 65536
    with pytest.raises(WeightsCorrupt):
        learned_tables({**weights, "biases.0": np.full((1, 3, 1), np.nan)}, np.array([0.25]))


def _symbols(count: int, spread: float = 1.0, tables: int = SCALES) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    indexes = generator.integers(0, tables, count)
    symbols = np.rint(generator.standard_normal(count) * scale_table()[indexes] * spread).astype(np.int64)
    return indexes, np.clip(symbols, -rans.VALUE_LIMIT, rans.VALUE_LIMIT)


def _encode(groups: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    encoder = rans.Encoder()
    for indexes, symbols in groups:
        encoder.encode(gaussian_tables(), indexes, symbols)
    return encoder.finish(CHECK)


@pytest.mark.parametrize("spread", [1.0, 40.0])
def test_symbols_come_back_group_by_group_with_escapes_among_them(spread: float) -> None:
    indexes, symbols = _symbols(3000, spread)
    symbols[:4] = [rans.VALUE_LIMIT, -rans.VALUE_LIMIT, 0, 1]
    groups = [(indexes[:1], symbols[:1]), (indexes[1:1500], symbols[1:1500]), (indexes[1500:], symbols[1500:])]

    decoder = rans.Decoder(_encode(groups))

    for group_indexes, group_symbols in groups:
        assert (decoder.decode(gaussian_tables(), group_indexes) == group_symbols).all()
    decoder.finish(CHECK)


@pytest.mark.parametrize(("count", "tables"), [(0, 1), (5_000, 1), (10_000, 14), (20_000, 40)])
def test_payload_is_at_most_seven_bytes_over_what_the_tables_say(count: int, tables: int) -> None:
    indexes, symbols = _symbols(count, tables=tables)
    table = gaussian_tables()
    inside = np.clip(symbols, table.low[indexes], table.high[indexes])
    entries = table.first[indexes] + inside - table.low[indexes]
    ideal_bits = float((16 - np.log2(table.starts[entries + 1] - table.starts[entries])).sum())

    payload = _encode([(indexes, inside)])

    assert len(payload) - ideal_bits / 8 < 7


def test_every_flipped_bit_is_noticed() -> None:
    indexes, symbols = _symbols(600, tables=30)
    payload = _encode([(indexes, symbols)])
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            decoder = rans.Decoder(bytes(damaged))
            found = decoder.decode(gaussian_tables(), indexes)
            # Stands in for the check over the symbols, which differ wherever the state still ends right.
            decoder.finish(CHECK if (found == symbols).all() else CHECK ^ 1)


def test_payload_too_short_too_long_or_odd_is_refused() -> None:
    indexes, symbols = _symbols(500)
    payload = _encode([(indexes, symbols)])

    for cut in (0, 3, 6, len(payload) - 2):
        with pytest.raises(StreamTruncated):
            rans.Decoder(payload[:cut]).decode(gaussian_tables(), indexes)
    with pytest.raises(StreamCorrupt):
        rans.Decoder(payload[:-1])
    decoder = rans.Decoder(payload + b"\0\0")
    decoder.decode(gaussian_tables(), indexes)
    with pytest.raises(StreamCorrupt, match="after its last"):
        decoder.finish(CHECK)


def test_random_payloads_end_in_an_error_and_in_bounded_values() -> None:
    generator = np.random.default_rng(3)
    indexes = np.arange(2000) % SCALES
    for _ in range(200):
        payload = generator.bytes(int(generator.integers(3, 400)) * 2)
        with pytest.raises(StreamError):
            decoder = rans.Decoder(payload)
            assert np.abs(decoder.decode(gaussian_tables(), indexes)).max() <= rans.VALUE_LIMIT
            decoder.finish(CHECK)


def test_exact_layers_agree_with_whole_number_arithmetic_digit_for_digit() -> None:
    generator = np.random.default_rng(5)
    weights = generator.standard_normal((9, 500)).astype(np.float32).astype(np.float64)
    bias = generator.standard_normal(9)
    values = generator.integers(-LIMIT, LIMIT + 1, (4, 500))
    values[0] = np.where(weights[0] > 0, LIMIT, -LIMIT)  # the largest sum there can be
    layer = exact_linear(weights, bias, slope=0.01)

    found = layer(values.astype(np.float64))

    matrix, shifts = layer.matrix.numpy().T, np.log2(layer.shrink).astype(int)
    for row in range(4):
        for output in range(9):
            total = sum(int(w) * int(v) for w, v in zip(matrix[output], values[row], strict=True))
            total += int(layer.bias[output])
            assert abs(total) <= 2**53
            value = math.ldexp(total, int(shifts[output]))
            value = value * 0.01 if value < 0 else value
            assert found[row, output] == min(max(round(value), -LIMIT), LIMIT)


def test_exact_layers_keep_weights_as_fine_as_they_can_be() -> None:
    layer = exact_linear(np.array([[0.1, -0.2], [900.0, 900.0]]), np.zeros(2))

    assert layer.shrink.tolist() == [2.0**-24, 2.0**-13]


@pytest.mark.parametrize("weight", [np.nan, np.inf, 2.0**25])
def test_weights_that_cannot_be_computed_with_exactly_are_refused(weight: float) -> None:
    with pytest.raises(WeightsCorrupt):
        exact_linear(np.array([[weight]]), np.zeros(1))


def test_composed_layers_are_their_product_digit_for_digit() -> None:
    generator = np.random.default_rng(6)
    outer, inner = generator.standard_normal((4, 300)), generator.standard_normal((300, 5)) * 100

    found = exact_composition(outer, inner)

    bits = next(
        bits
        for bits in range(24, 0, -1)
        if np.abs(np.rint(outer * 2**bits)).sum(axis=1).max() * np.abs(np.rint(inner * 2**bits)).max() <= 2**52
    )
    left, right = np.rint(outer * 2**bits), np.rint(inner * 2**bits)
    assert 8 < bits < 24
    for row in range(4):
        for column in range(5):
            total = sum(int(a) * int(b) for a, b in zip(left[row], right[:, column], strict=True))
            assert found[row, column] == math.ldexp(total, -2 * bits)
    with pytest.raises(WeightsCorrupt):
        exact_composition(outer * 2.0**30, inner * 2.0**30)


def test_exact_convolutions_are_the_usual_ones_up_to_rounding() -> None:
    torch.manual_seed(0)
    picture = torch.randn(1, 6, 5, 7, dtype=torch.float64) * 10
    fixed = np.rint(picture[0].permute(1, 2, 0).numpy() * UNIT).astype(np.int32)
    weights, bias = torch.randn(8, 6, 3, 3, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    shuffled = functional.pixel_shuffle(functional.conv2d(picture, weights, bias, padding=1), 2)
    transposed = torch.randn(6, 8, 5, 5, dtype=torch.float64)
    enlarged = functional.conv_transpose2d(picture, transposed, bias, stride=2, padding=2, output_padding=1)

    found = exact_convolution(weights.numpy(), bias.numpy(), slope=0.01, shuffle=2)(fixed) / UNIT
    found_transposed = exact_transposed_convolution(transposed.numpy(), bias.numpy())(fixed) / UNIT

    expected = functional.leaky_relu(shuffled, 0.01)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(found_transposed - enlarged[0].permute(1, 2, 0).numpy()).max() < 1e-3
