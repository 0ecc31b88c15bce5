"""The map coder: exact, small on regions of pictures, never much larger than the bits themselves."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from codec.bitstream.maps.payload import CONTEXTS, decode_maps, encode_maps
from codec.bitstream.maps.prior import COUNTS
from codec.bitstream.stream import Maps
from codec.encode.describe.local import describe_locally
from codec.encode.locate.masks import masks_from_maps
from codec.errors import StreamCorrupt, StreamError

COUNTS_SHA256 = "5fdba0588a185c4c924f1e4716c4af67b1d3b8af7df94fc8d87914f03f4a19d7"


@st.composite
def any_maps(draw: st.DrawFn) -> Maps:
    edge = draw(st.integers(4, 16))
    mask = st.lists(st.integers(0, 1), min_size=edge * edge, max_size=edge * edge).map(bytes)
    return Maps(edge, tuple(draw(st.lists(mask, min_size=1, max_size=3))))


def disc(column: float, row: float, radius: float, edge: int = 8) -> bytes:
    return bytes((x - column) ** 2 + (y - row) ** 2 <= radius * radius for y in range(edge) for x in range(edge))


@settings(deadline=None)
@given(any_maps())
def test_any_maps_come_back_and_cost_at_most_a_few_bytes_over_their_bits(maps: Maps) -> None:
    payload = encode_maps(maps)
    assert decode_maps(payload) == maps
    raw_bits = len(maps.masks) * maps.edge * maps.edge
    assert 8 * len(payload) <= raw_bits + 40


@pytest.mark.parametrize("edge", range(4, 17))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_edge_and_count_comes_back(edge: int, count: int) -> None:
    masks = tuple(disc(edge / 2, edge / 3 + index, edge / 4, edge) for index in range(count))
    assert decode_maps(encode_maps(Maps(edge, masks))) == Maps(edge, masks)


def test_three_separate_regions_cost_under_half_of_their_bits() -> None:
    maps = Maps(8, (disc(3, 4, 2.4), disc(6.5, 1, 1.6), bytes(56) + b"\1" * 8))
    payload = encode_maps(maps)
    assert decode_maps(payload) == maps
    assert 8 * len(payload) <= 0.5 * 3 * 64


def test_empty_maps_cost_at_most_5_bytes() -> None:
    maps = Maps(8, (bytes(64),) * 3)
    assert len(encode_maps(maps)) <= 5
    assert decode_maps(encode_maps(maps)) == maps


@given(st.binary(min_size=1, max_size=80))
def test_any_payload_decodes_to_maps_or_is_corrupt(payload: bytes) -> None:
    try:
        maps = decode_maps(payload)
    except StreamCorrupt:
        return
    assert decode_maps(encode_maps(maps)) == maps


def test_bytes_after_the_last_map_are_corrupt() -> None:
    with pytest.raises(StreamCorrupt, match="after its last map"):
        decode_maps(encode_maps(Maps(8, (disc(3, 3, 2),) * 3)) + bytes(40))


@pytest.mark.parametrize(
    "maps",
    [
        Maps(3, (bytes(9),)),
        Maps(17, (bytes(289),)),
        Maps(8, ()),
        Maps(8, (bytes(64),) * 4),
        Maps(8, (bytes(63),)),
        Maps(8, (b"\2" + bytes(63),)),
    ],
    ids=["small", "large", "none", "four", "short", "not-a-bit"],
)
def test_maps_that_the_format_cannot_hold_are_refused(maps: Maps) -> None:
    with pytest.raises(StreamError):
        encode_maps(maps)


def test_prior_is_the_one_of_version_1() -> None:
    assert hashlib.sha256(repr(COUNTS).encode()).hexdigest() == COUNTS_SHA256


def test_prior_has_every_context_and_no_impossible_bit() -> None:
    assert len(COUNTS) == CONTEXTS
    assert min(min(counts) for counts in COUNTS) >= 1


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_regions_of_photographs_cost_at_most_60_percent_of_their_bits(name: str) -> None:
    maps = masks_from_maps(describe_locally(Image.fromarray(getattr(data, name)())).maps)
    payload = encode_maps(maps)
    assert decode_maps(payload) == maps
    assert 8 * len(payload) <= 0.6 * 64 * len(maps.masks)
