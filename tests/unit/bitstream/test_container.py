"""The frame: its cost, its limits, and what a reader says to streams that are not whole."""

import zlib

import pytest

from codec.bitstream import (
    ExternalCoarse,
    Maps,
    NetCoarse,
    PixelCoarse,
    Stream,
    Texts,
    pack,
    unpack,
)
from codec.bitstream.coding.varint import write_varint
from codec.bitstream.container import MAGIC
from codec.bitstream.pixels.payload import standard_grid
from codec.errors import (
    StreamCorrupt,
    StreamError,
    StreamLimitExceeded,
    StreamTruncated,
    StreamUnsupported,
)
from codec.limits import MAX_STREAM_BYTES

DIGEST = bytes(range(16))
EXTERNAL = ExternalCoarse(DIGEST, 12_345)


def thumbnail(width: int, height: int, blocks: int = 8) -> PixelCoarse:
    columns, rows = standard_grid(width, height, blocks)
    samples = bytes((7 * i // 5 + i // 11) % 32 for i in range(columns * rows * 3))
    return PixelCoarse(columns, rows, 3, samples)


def full_stream(width: int = 768, height: int = 512) -> Stream:
    disc = bytes((x - 3) ** 2 + (y - 4) ** 2 < 8 for y in range(8) for x in range(8))
    maps = Maps(8, (disc, bytes(64), disc[::-1]))
    texts = Texts(("a red boat", "calm water", "a grey sky"), "A red boat lies on calm water under a grey sky.")
    return Stream(width, height, thumbnail(width, height), texts, maps)


def sealed(body: bytes) -> bytes:
    """`body` with a checksum that holds."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def header(width: int = 64, height: int = 48, flags: int = 0x10) -> bytes:
    return MAGIC + bytes((flags,)) + write_varint(width) + write_varint(height)


def external_payload() -> bytes:
    return b"\x02" + DIGEST + write_varint(12_345)


def section(number: int, payload: bytes) -> bytes:
    return write_varint(len(payload) << 4 | number) + payload


@pytest.mark.parametrize(("width", "height", "expected_bytes"), [(768, 512, 17), (16_384, 512, 18), (512, 20_000, 18)])
def test_text_maps_and_pixels_cost_17_bytes_of_container_or_18_with_a_long_side(
    width: int, height: int, expected_bytes: int
) -> None:
    packed = pack(full_stream(width, height))
    assert packed.bits.container == 8 * expected_bytes
    assert packed.bits.total == 8 * len(packed.data)
    assert min(packed.bits.text, packed.bits.maps, packed.bits.coarse) > 0


def test_stream_without_text_and_maps_costs_13_bytes_of_container() -> None:
    assert pack(Stream(768, 512, thumbnail(768, 512))).bits.container == 8 * 13


def test_each_named_network_costs_4_bytes() -> None:
    plain = full_stream()
    named = Stream(
        plain.width, plain.height, plain.coarse, plain.texts, plain.maps, "sd21", b"\1\2\3\4", b"\xfc\xfd\xfe\xff"
    )
    packed = pack(named)
    assert packed.bits.container == pack(plain).bits.container + 8 * 8
    assert unpack(packed.data).stream == named


@pytest.mark.parametrize("coarse_network", [None, b"abcd"])
@pytest.mark.parametrize("restorer_network", [None, b"wxyz"])
@pytest.mark.parametrize("profile", ["lite", "sd21"])
def test_every_combination_of_header_flags_comes_back(
    coarse_network: bytes | None, restorer_network: bytes | None, profile: str
) -> None:
    stream = Stream(31, 7, EXTERNAL, profile=profile, coarse_network=coarse_network, restorer_network=restorer_network)
    packed = pack(stream)
    unpacked = unpack(packed.data)
    assert unpacked.stream == stream
    assert unpacked.bits == packed.bits


def test_full_stream_comes_back_exactly_with_the_same_breakdown() -> None:
    packed = pack(full_stream())
    unpacked = unpack(packed.data)
    assert unpacked.stream == full_stream()
    assert unpacked.bits == packed.bits


def test_stream_cut_at_any_length_is_an_error() -> None:
    data = pack(full_stream()).data
    for length in range(len(data)):
        with pytest.raises((StreamTruncated, StreamCorrupt)):
            unpack(data[:length])


def test_stream_shorter_than_any_can_be_is_truncated() -> None:
    data = pack(full_stream()).data
    for length in range(9):
        with pytest.raises(StreamTruncated):
            unpack(data[:length])


def test_any_single_flipped_bit_is_noticed() -> None:
    data = pack(full_stream()).data
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position >> 3] ^= 1 << (position & 7)
        with pytest.raises(StreamError):
            unpack(bytes(damaged))


def test_bytes_of_another_format_are_no_stream() -> None:
    with pytest.raises(StreamError, match=r"not a \.misc stream"):
        unpack(b"\x89PNG\r\n\x1a\n" + bytes(40))


def test_damaged_payload_is_corrupt() -> None:
    data = bytearray(pack(full_stream()).data)
    data[-6] ^= 0x55
    with pytest.raises(StreamCorrupt, match="checksum"):
        unpack(bytes(data))


@pytest.mark.parametrize("version", [0, 2, 15])
def test_other_version_is_unsupported(version: int) -> None:
    body = header(flags=version << 4) + b"\x03" + external_payload()
    with pytest.raises(StreamUnsupported, match=f"version {version}"):
        unpack(sealed(body))


@pytest.mark.parametrize("profile", [2, 3])
def test_reserved_profile_is_unsupported(profile: int) -> None:
    body = header(flags=0x10 | profile << 2) + b"\x03" + external_payload()
    with pytest.raises(StreamUnsupported, match="profile"):
        unpack(sealed(body))


@pytest.mark.parametrize(("width", "height"), [(65_536, 1), (1, 65_536), (10_001, 10_000), (2**62, 2**62)])
def test_picture_beyond_the_limits_is_refused(width: int, height: int) -> None:
    with pytest.raises(StreamLimitExceeded):
        unpack(sealed(header(width, height) + b"\x03" + external_payload()))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_picture_without_pixels_is_corrupt(width: int, height: int) -> None:
    with pytest.raises(StreamCorrupt):
        unpack(sealed(header(width, height) + b"\x03" + external_payload()))


def test_picture_beyond_the_limits_cannot_be_packed() -> None:
    with pytest.raises(StreamLimitExceeded):
        pack(Stream(65_536, 1, EXTERNAL))


def test_file_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(StreamLimitExceeded):
        unpack(MAGIC + bytes(MAX_STREAM_BYTES))


@pytest.mark.parametrize("number", range(9, 15))
def test_unknown_ancillary_section_is_skipped_and_counts_as_container(number: int) -> None:
    plain = unpack(sealed(header() + b"\x03" + external_payload()))
    body = header() + section(3, external_payload()) + bytes((number,)) + b"later"
    unpacked = unpack(sealed(body))
    assert unpacked.stream == plain.stream
    assert unpacked.bits.coarse == plain.bits.coarse
    assert unpacked.bits.total == 8 * len(sealed(body))


@pytest.mark.parametrize("number", [4, 5, 6, 7, 15])
def test_unknown_critical_section_is_unsupported(number: int) -> None:
    body = header() + section(3, external_payload()) + bytes((number,)) + b"later"
    with pytest.raises(StreamUnsupported, match=f"section {number}"):
        unpack(sealed(body))


def test_missing_coarse_section_is_corrupt() -> None:
    with pytest.raises(StreamCorrupt, match="no coarse"):
        unpack(sealed(header() + b"\x02" + b"\x00"))


@pytest.mark.parametrize(
    "body",
    [
        section(3, external_payload()) + b"\x03" + external_payload(),
        section(3, external_payload()) + b"\x02" + b"\x00",
        section(8, b"x") + b"\x03" + external_payload(),
        section(0, b"x") + b"\x03" + external_payload(),
    ],
    ids=["twice", "descending", "ancillary-first", "zero"],
)
def test_sections_out_of_order_are_corrupt(body: bytes) -> None:
    with pytest.raises(StreamCorrupt, match="order"):
        unpack(sealed(header() + body))


@pytest.mark.parametrize(
    "body",
    [b"", section(3, external_payload()), b"\x03", write_varint(1000 << 4 | 3) + external_payload(), b"\x83"],
    ids=["none", "no-last", "empty-last", "length-lie", "half-head"],
)
def test_announced_bytes_that_are_not_there_are_truncation(body: bytes) -> None:
    with pytest.raises(StreamTruncated):
        unpack(sealed(header() + body))


def test_overlong_number_is_corrupt() -> None:
    body = MAGIC + b"\x10" + b"\xc0\x00" + b"\x30" + b"\x03" + external_payload()
    with pytest.raises(StreamCorrupt, match="longer than it needs"):
        unpack(sealed(body))


def test_learned_codec_without_its_network_is_corrupt() -> None:
    with pytest.raises(StreamCorrupt, match="which one"):
        unpack(sealed(header() + b"\x03" + b"\x03anything"))


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_learned_codec_payload_comes_back_as_it_was(scale: int) -> None:
    stream = Stream(40, 30, NetCoarse(scale, b"strings"), coarse_network=b"abcd")
    packed = pack(stream)
    assert unpack(packed.data).stream == stream
    assert packed.bits.coarse == 8 * (1 + len(b"strings"))


def test_learned_codec_that_the_format_cannot_hold_is_refused() -> None:
    for coarse, network in ((NetCoarse(3, b"x"), b"abcd"), (NetCoarse(1, b""), b"abcd"), (NetCoarse(1, b"x"), None)):
        with pytest.raises(StreamError):
            pack(Stream(40, 30, coarse, coarse_network=network))


def test_network_digest_of_another_length_cannot_be_packed() -> None:
    with pytest.raises(StreamError, match="4 bytes"):
        pack(Stream(5, 5, EXTERNAL, restorer_network=b"12345"))


def test_unknown_profile_cannot_be_packed() -> None:
    with pytest.raises(StreamUnsupported, match="profile"):
        pack(Stream(5, 5, EXTERNAL, profile="huge"))
