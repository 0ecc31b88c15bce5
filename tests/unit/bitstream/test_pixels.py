"""Pixel blocks: every level and grid comes back, natural pictures get small, and the shipped numbers are frozen."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from codec.bitstream.pixels import prior
from codec.bitstream.pixels.network import BLOCKS_TOGETHER, MAX_FINE_SAMPLES, networks_for
from codec.bitstream.pixels.payload import MAX_NETWORK_SAMPLES, decode_pixels, encode_pixels, standard_grid
from codec.bitstream.pixels.plain import RangeWriter
from codec.bitstream.pixels.prior import load_prior
from codec.bitstream.pixels.samples import decisions_and_odds, inputs_of, read_samples
from codec.bitstream.pixels.tables import OUTPUT_REACH
from codec.bitstream.stream import PixelCoarse
from codec.errors import StreamCorrupt, StreamError, StreamLimitExceeded, StreamTruncated, StreamUnsupported
from training.pixel_features import features


def blocks_of(picture: Image.Image, blocks: int, level: int) -> PixelCoarse:
    columns, rows = standard_grid(*picture.size, blocks)
    averages = np.asarray(picture.convert("RGB").resize((columns, rows), Image.Resampling.BOX))
    return PixelCoarse(columns, rows, level, (averages >> level).tobytes())


def noise(columns: int, rows: int, level: int, seed: int = 0) -> PixelCoarse:
    values = np.random.default_rng(seed).integers(0, 256 >> level, (rows, columns, 3), dtype=np.uint8)
    return PixelCoarse(columns, rows, level, values.tobytes())


@st.composite
def any_blocks(draw: st.DrawFn) -> PixelCoarse:
    columns, rows, level = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(0, 7))
    count = columns * rows * 3
    sample = st.integers(0, (256 >> level) - 1)
    return PixelCoarse(columns, rows, level, bytes(draw(st.lists(sample, min_size=count, max_size=count))))


@settings(deadline=None, max_examples=60)
@given(any_blocks(), st.integers(1, 900), st.integers(1, 900))
def test_any_blocks_of_any_picture_size_come_back(coarse: PixelCoarse, width: int, height: int) -> None:
    assert decode_pixels(encode_pixels(coarse, width, height), width, height) == coarse


@pytest.mark.parametrize("level", range(8))
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (1, 40), (40, 1), (2, 2), (17, 9), (256, 1), (1, 256), (80, 60)])
def test_every_level_comes_back_on_odd_grids(columns: int, rows: int, level: int) -> None:
    coarse = noise(columns, rows, level)
    assert decode_pixels(encode_pixels(coarse, 640, 480), 640, 480) == coarse


@pytest.mark.parametrize("level", [0, 3, 7])
def test_largest_grid_comes_back(level: int) -> None:
    coarse = noise(256, 256, level)
    assert decode_pixels(encode_pixels(coarse, 999, 999), 999, 999) == coarse


@pytest.mark.parametrize(("columns", "rows"), [(48, 32), (49, 32), (64, 64), (64, 65)])
def test_grids_on_both_sides_of_a_change_of_model_come_back(columns: int, rows: int) -> None:
    picture = Image.fromarray(data.coffee()).resize((columns, rows), Image.Resampling.BOX)
    coarse = PixelCoarse(columns, rows, 3, (np.asarray(picture) >> 3).tobytes())
    assert decode_pixels(encode_pixels(coarse, 640, 640), 640, 640) == coarse


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(("columns", "rows"), [(32, 21), (256, 171)])
def test_flat_blocks_cost_next_to_nothing(columns: int, rows: int, value: int) -> None:
    coarse = PixelCoarse(columns, rows, 3, bytes([31 * value]) * (columns * rows * 3))
    payload = encode_pixels(coarse, 768, 512)
    assert decode_pixels(payload, 768, 512) == coarse
    assert 8 * len(payload) <= 0.09 * len(coarse.samples)


@pytest.mark.parametrize(
    ("name", "most_bits_a_sample"), [("astronaut", 2.2), ("coffee", 2.0), ("chelsea", 2.0), ("rocket", 1.4)]
)
def test_photographs_at_the_defaults_cost_well_under_half_of_five_bits(name: str, most_bits_a_sample: float) -> None:
    picture = Image.fromarray(getattr(data, name)())
    coarse = blocks_of(picture, 32, 3)
    payload = encode_pixels(coarse, *picture.size)
    assert decode_pixels(payload, *picture.size) == coarse
    assert 8 * len(payload) / len(coarse.samples) <= most_bits_a_sample


def test_mirrored_picture_costs_the_same() -> None:
    coarse = blocks_of(Image.fromarray(data.chelsea()), 24, 3)
    samples = np.frombuffer(coarse.samples, np.uint8).reshape(coarse.rows, coarse.columns, 3)
    mirrored = PixelCoarse(coarse.columns, coarse.rows, 3, samples[:, ::-1].tobytes())
    straight, turned = (encode_pixels(blocks, 451, 300) for blocks in (coarse, mirrored))
    assert straight[1:] == turned[1:]
    assert straight[0] ^ turned[0] == 0x80
    assert decode_pixels(turned, 451, 300) == mirrored


@pytest.mark.parametrize(
    ("width", "height", "blocks", "grid"),
    [
        (768, 512, 32, (32, 21)),
        (512, 768, 32, (21, 32)),
        (512, 512, 32, (32, 32)),
        (1000, 1, 32, (32, 1)),
        (1, 1, 1, (1, 1)),
        (64, 3, 32, (32, 2)),
    ],
)
def test_standard_grid_gives_the_long_edge_its_blocks(
    width: int, height: int, blocks: int, grid: tuple[int, int]
) -> None:
    assert standard_grid(width, height, blocks) == grid


@pytest.mark.parametrize(("columns", "rows", "bytes_of_head"), [(32, 21, 1), (24, 16, 2), (20, 20, 3)])
def test_grid_costs_nothing_at_the_default_one_byte_if_standard_two_otherwise(
    columns: int, rows: int, bytes_of_head: int
) -> None:
    payload = encode_pixels(PixelCoarse(columns, rows, 3, bytes(columns * rows * 3)), 768, 512)
    assert payload[0] >> 5 & 3 == bytes_of_head - 1
    assert list(payload[1:bytes_of_head]) == [[], [23], [19, 19]][bytes_of_head - 1]


@pytest.mark.parametrize("payload", [b"\x2c\x1f", b"\x4c\x1f\x14"], ids=["blocks-32", "explicit-standard"])
def test_second_spelling_of_a_grid_is_corrupt(payload: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="longer than it needs"):
        decode_pixels(payload, 768, 512)


@pytest.mark.parametrize("payload", [b"", b"\x2c", b"\x4c", b"\x4c\x05"])
def test_payload_that_ends_inside_its_grid_is_truncated(payload: bytes) -> None:
    with pytest.raises(StreamTruncated):
        decode_pixels(payload, 768, 512)


@pytest.mark.parametrize("payload", [b"\x6c\x00\x00\x00", b"\xcc\xff\xfe"], ids=["form-3", "large-mirrored"])
def test_reserved_forms_are_unsupported(payload: bytes) -> None:
    with pytest.raises(StreamUnsupported):
        decode_pixels(payload, 768, 512)


@pytest.mark.parametrize(("columns", "rows"), [(6, 4), (90, 60)])
def test_bytes_after_the_last_sample_are_corrupt(columns: int, rows: int) -> None:
    payload = encode_pixels(noise(columns, rows, 3), 768, 512)
    with pytest.raises(StreamCorrupt, match="after its last sample"):
        decode_pixels(payload + bytes(20), 768, 512)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), st.integers(1, 60), st.integers(1, 60))
def test_any_payload_decodes_or_is_a_typed_error(payload: bytes, width: int, height: int) -> None:
    # A small explicit grid, so that one example takes no longer than a few milliseconds.
    head = bytes((payload[0] & 0x9C | 0x40, 3, 2))
    try:
        coarse = decode_pixels(head + payload[1:], width, height)
    except StreamError:
        return
    assert len(coarse.samples) == 36
    assert max(coarse.samples) < 256 >> coarse.level


@pytest.mark.parametrize("columns", [0, 257])
def test_grid_beyond_the_limits_cannot_be_encoded(columns: int) -> None:
    with pytest.raises(StreamLimitExceeded):
        encode_pixels(PixelCoarse(columns, 1, 3, bytes(3 * columns)), 10, 10)


@pytest.mark.parametrize(
    "coarse", [PixelCoarse(2, 2, 8, bytes(12)), PixelCoarse(2, 2, 3, bytes(11)), PixelCoarse(1, 1, 3, b"\0\0\x20")]
)
def test_blocks_that_contradict_themselves_cannot_be_encoded(coarse: PixelCoarse) -> None:
    with pytest.raises(StreamError):
        encode_pixels(coarse, 10, 10)


def test_prior_is_the_one_of_version_1() -> None:
    data = files("codec.bitstream.pixels").joinpath("prior.bin").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "ab3ae92c69896fa83188f463245ffe3093e9c22b9de5be30f4097c5df4b91378"


def test_damaged_prior_is_refused_on_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "PRIOR_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged"):
        load_prior.__wrapped__()


def test_large_grids_leave_the_networks() -> None:
    assert MAX_NETWORK_SAMPLES == 64 * 64 * 3


class _Listener:
    """Stands in for a decoder: gives known decisions out and keeps the odds that it was asked with."""

    def __init__(self, decisions: list[int]) -> None:
        self._decisions = iter(decisions)
        self.odds: list[int] = []

    def decode(self, p1: int) -> int:
        self.odds.append(p1)
        return next(self._decisions)


def some_blocks(columns: int, rows: int, level: int, kind: str) -> PixelCoarse:
    """Blocks of a photograph, of noise, or of nothing but the darkest and the lightest colours."""
    if kind == "photograph":
        picture = Image.fromarray(data.astronaut()).resize((columns, rows), Image.Resampling.BOX)
        return PixelCoarse(columns, rows, level, (np.asarray(picture) >> level).tobytes())
    values = np.frombuffer(noise(columns, rows, level).samples, np.uint8)
    if kind == "extremes":
        values = (values & 1) * np.uint8(255 >> level)
    return PixelCoarse(columns, rows, level, values.tobytes())


@pytest.mark.parametrize("kind", ["photograph", "noise", "extremes"])
@pytest.mark.parametrize("level", range(8))
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (1, 13), (13, 1), (2, 2), (3, 5), (26, 9)])
def test_reader_asks_with_the_odds_that_the_writer_used(columns: int, rows: int, level: int, kind: str) -> None:
    coarse = some_blocks(columns, rows, level, kind)
    decisions, odds = decisions_and_odds(columns, rows, level, coarse.samples)
    listener = _Listener(decisions.ravel().tolist())
    assert read_samples(listener, columns, rows, level) == coarse.samples  # type: ignore[arg-type]
    assert listener.odds == odds.ravel().tolist()
    assert min(listener.odds) >= 24
    assert max(listener.odds) <= 65_512


def test_reader_asks_with_the_odds_that_the_writer_used_where_small_networks_code() -> None:
    coarse = some_blocks(49, 32, 3, "photograph")
    assert len(coarse.samples) > MAX_FINE_SAMPLES
    decisions, odds = decisions_and_odds(49, 32, 3, coarse.samples)
    listener = _Listener(decisions.ravel().tolist())
    assert read_samples(listener, 49, 32, 3) == coarse.samples  # type: ignore[arg-type]
    assert listener.odds == odds.ravel().tolist()


@pytest.mark.parametrize("level", [0, 3, 6])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (6, 11), (20, 30)])
def test_networks_see_what_they_were_trained_on(shape: tuple[int, int], level: int) -> None:
    picture = Image.fromarray(data.astronaut()).resize(shape[::-1], Image.Resampling.BOX)
    samples = np.asarray(picture) >> level
    expected, _, _ = features(samples, level)
    above, in_row, _ = inputs_of(samples[:, :, [1, 0, 2]].astype(np.int64), level)
    for stored, network, inputs in zip(load_prior().fine.networks, networks_for(1).channels, expected, strict=True):
        sums = above @ network.above + in_row[:, : len(network.in_row)] @ network.in_row
        units, outputs = 128 * sums[:, : network.hidden], sums[:, network.hidden + 1 :]
        assert np.array_equal(units, inputs @ stored.first + stored.first_bias)
        assert np.array_equal(outputs, 8 * (inputs @ stored.skips) + stored.third_bias)
        assert (sums[:, network.hidden] == 1).all()


@pytest.mark.parametrize("networks", ["fine", "quick"])
def test_no_sum_of_the_networks_can_lose_a_digit(networks: str) -> None:
    # Inputs are below 1024 and hidden units below 8192; a sum's lowest digit is 2**-12, and float64 has 53 bits.
    for network in getattr(load_prior(), networks).networks:
        first = 1024 * abs(network.first).sum(axis=0) + abs(network.first_bias)
        second = 8192 * abs(network.second).sum(axis=0) + abs(network.second_bias)
        third = 8192 * abs(network.third).sum(axis=0) + abs(network.third_bias)
        outputs = third + 8 * 1024 * abs(network.skips).sum(axis=0)
        assert max(first.max(), second.max(), outputs.max()) < 2**40


@pytest.mark.parametrize("samples", [MAX_FINE_SAMPLES, MAX_NETWORK_SAMPLES])
def test_products_are_too_small_for_the_blas_library_to_wake_threads(samples: int) -> None:
    # OpenBLAS takes one thread for a vector times fewer than 9216 weights and for matrices up to 262,144 products.
    for network in networks_for(samples).channels:
        for weights in (network.above, network.in_row, network.second, network.third):
            assert weights.size < 9216
            assert BLOCKS_TOGETHER * weights.size <= 262_144


@pytest.mark.parametrize("networks", ["fine", "quick"])
def test_tables_reach_as_far_as_outputs_can(networks: str) -> None:
    for network in getattr(load_prior(), networks).networks:
        third = 8191 * abs(network.third).sum(axis=0) + abs(network.third_bias)
        # No input is beyond 255 either way.
        assert max(third + 8 * 255 * abs(network.skips).sum(axis=0)) >> 15 < OUTPUT_REACH


def test_payloads_are_those_of_the_first_encoder() -> None:
    digest = hashlib.sha256()
    for level in range(8):
        for columns, rows in ((1, 1), (1, 7), (7, 1), (9, 6), (32, 21), (50, 33)):
            kinds = ("photograph", "extremes") if columns < 50 or level == 3 else ()
            for kind in kinds:
                coarse = some_blocks(columns, rows, level, kind)
                digest.update(encode_pixels(coarse, 640, 427))
    assert digest.hexdigest() == "503060adb30c370912ffe9f66aa321b22421d7880b922e74e5c3d6e72c0411b5"


def test_carry_runs_through_a_row_of_full_bytes() -> None:
    # The last slot again and again drives the lower end up to the very top of the window, then a small step over it.
    writer = RangeWriter()
    for _ in range(40):
        writer.encode(65_535, 1, 65_536)
    writer.encode(1, 1, 3)
    high = writer.finish()
    assert high[:60] == b"\xff" * 60
