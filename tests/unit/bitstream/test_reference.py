"""Reference payloads: foreign picture files come back with the same pixels, and nothing hostile gets past."""

import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codec.bitstream.coarse.reference import CODECS, coded_size, decode_reference, encode_reference
from codec.bitstream.stream import RefCoarse
from codec.errors import StreamCorrupt, StreamError, StreamLimitExceeded, StreamTruncated, StreamUnsupported
from codec.limits import MAX_REFERENCE_BYTES
from codec.picture.coded import read_coded, write_coded

SIZES = ((1, 1), (2, 3), (15, 17), (64, 64), (161, 90), (300, 200))


def photo(width: int, height: int) -> Image.Image:
    """Soft shapes with some grain, so that every coding tool finds something to do."""
    y, x = np.mgrid[0:height, 0:width] / 23
    base = np.stack([np.sin(x) + np.cos(y), np.cos(x * 1.7), np.sin(x + y)], axis=-1)
    grain = np.random.default_rng(7).normal(0, 6, base.shape)
    return Image.fromarray(np.clip(128 + 55 * base + grain, 0, 255).astype(np.uint8))


def coded(codec: str, size: tuple[int, int], quality: int = 40) -> RefCoarse:
    if codec == "jxl":
        pytest.importorskip("pillow_jxl")
    return RefCoarse(codec, 1, write_coded(codec, photo(*size), quality, thorough=False, plain=codec == "jxl"))


@pytest.mark.parametrize("quality", [1, 30, 90])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("codec", CODECS)
def test_rebuilt_file_decodes_to_the_same_pixels(codec: str, size: tuple[int, int], quality: int) -> None:
    coarse = coded(codec, size, quality)
    rebuilt = decode_reference(encode_reference(coarse, *size), *size)
    assert (rebuilt.codec, rebuilt.scale) == (codec, 1)
    before = read_coded(codec, coarse.file, *size)
    after = read_coded(codec, rebuilt.file, *size)
    assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize(("codec", "saved"), [("avif", 285), ("webp", 26), ("jxl", 3), ("jpeg", 240)])
def test_wrapper_bytes_are_left_out(codec: str, saved: int) -> None:
    coarse = coded(codec, (300, 200))
    assert len(coarse.file) - len(encode_reference(coarse, 300, 200)) >= saved


def test_standard_huffman_tables_cost_nothing() -> None:
    out = io.BytesIO()
    photo(40, 30).save(out, "JPEG", quality=30, optimize=False)
    payload = encode_reference(RefCoarse("jpeg", 1, out.getvalue()), 40, 30)
    assert len(out.getvalue()) - len(payload) == 623
    assert read_coded("jpeg", decode_reference(payload, 40, 30).file, 40, 30).size == (40, 30)


def test_first_byte_holds_mode_codec_scale_and_variant() -> None:
    file = coded("webp", (100, 50)).file
    assert coded_size(399, 197, 4) == (100, 50)
    payload = encode_reference(RefCoarse("webp", 4, file), 399, 197)
    assert payload[0] & 0b111111 == 1 | 1 << 2 | 2 << 4
    assert decode_reference(payload, 399, 197).scale == 4
    with pytest.raises(StreamUnsupported):
        decode_reference(bytes((1 | 3 << 4,)) + payload[1:], 399, 197)
    with pytest.raises(StreamTruncated):
        decode_reference(b"", 399, 197)


@pytest.mark.parametrize("codec", CODECS)
def test_file_of_another_size_is_refused_when_encoding(codec: str) -> None:
    coarse = coded(codec, (64, 64))
    with pytest.raises(StreamUnsupported):
        encode_reference(coarse, 64, 65)


def test_unknown_codec_and_scale_are_refused() -> None:
    file = coded("webp", (64, 64)).file
    with pytest.raises(StreamUnsupported, match="avif, webp"):
        encode_reference(RefCoarse("bmp", 1, file), 64, 64)
    with pytest.raises(StreamUnsupported, match="1, 2, 4"):
        encode_reference(RefCoarse("webp", 3, file), 64, 64)


def test_oversized_payload_is_refused_before_it_is_rebuilt() -> None:
    with pytest.raises(StreamLimitExceeded):
        decode_reference(bytes((1,)) + bytes(MAX_REFERENCE_BYTES + 1), 64, 64)


def test_avif_sequence_header_that_claims_another_size_is_refused() -> None:
    # Variant 1 carries its own header: this one is canonical but for its colour description, and says 64x64.
    coarse = coded("avif", (64, 64))
    start = coarse.file.index(b"\x0a\x0a") if b"\x0a\x0a" in coarse.file else coarse.file.index(b"\x12\x00\x0a") + 2
    length = coarse.file[start + 1]
    header = coarse.file[start + 2 : start + 2 + length]
    body = bytes((1 | 1 << 6, len(header))) + header + b"\0" * 20
    with pytest.raises(StreamCorrupt, match="another size"):
        decode_reference(body, 640, 640)
    assert decode_reference(body, 64, 64).codec == "avif"


def test_jpeg_scan_with_a_marker_in_it_is_refused() -> None:
    coarse = coded("jpeg", (64, 64))
    payload = encode_reference(coarse, 64, 64)
    with pytest.raises(StreamCorrupt, match="marker"):
        decode_reference(payload + b"\xff\xd8\xff", 64, 64)


def test_jpeg_xl_of_several_frames_is_refused() -> None:
    # Not all fields default, frame type 2: a frame that is only drawn on by others and may have any size.
    with pytest.raises(StreamUnsupported, match="plain frame"):
        decode_reference(bytes((1 | 2 << 2, 0b0000_0100)) + bytes(20), 64, 64)


@settings(max_examples=150, deadline=None)
@given(payload=st.binary(max_size=200), codec=st.integers(0, 3), variant=st.integers(0, 3))
def test_any_bytes_give_a_file_or_a_stream_error(payload: bytes, codec: int, variant: int) -> None:
    try:
        coarse = decode_reference(bytes((1 | codec << 2 | variant << 6,)) + payload, 33, 17)
    except StreamError:
        return
    assert coarse.codec == CODECS[codec]


@pytest.mark.parametrize("codec", CODECS)
def test_mutated_payloads_decode_to_the_right_size_or_a_stream_error(codec: str) -> None:
    size = (120, 80)
    payload = encode_reference(coded(codec, size), *size)
    dice = random.Random(11)
    outcomes = {"picture": 0, "error": 0}
    for _ in range(150):
        mutated = bytearray(payload)
        for _ in range(dice.randint(1, 4)):
            mutated[dice.randrange(1, len(mutated))] ^= 1 << dice.randrange(8)
        cut = mutated[: dice.randint(1, len(mutated))] if dice.random() < 0.3 else mutated
        try:
            rebuilt = decode_reference(bytes(cut), *size)
            assert read_coded(codec, rebuilt.file, *size).size == size
            outcomes["picture"] += 1
        except StreamError:
            outcomes["error"] += 1
    assert sum(outcomes.values()) == 150
