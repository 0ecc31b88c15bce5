"""The grain of a picture in a stream: what it costs, what comes back, and what is refused."""

import pytest

from codec.bitstream import ExternalCoarse, Stream, pack, unpack
from codec.bitstream.grain import GRAIN_STEP, MAX_GRAIN, decode_grain, encode_grain
from codec.errors import StreamCorrupt, StreamError

EXTERNAL = ExternalCoarse(bytes(range(16)), 1000)


def stream(grain: float = 0.0) -> Stream:
    return Stream(40, 30, EXTERNAL, grain=grain)


@pytest.mark.parametrize("steps", [1, 37, 255])
def test_grain_comes_back_in_steps(steps: int) -> None:
    assert unpack(pack(stream(steps * GRAIN_STEP)).data).stream == stream(steps * GRAIN_STEP)


def test_grain_costs_two_bytes_and_the_length_of_the_coarse_picture() -> None:
    plain, grainy = pack(stream()), pack(stream(1.5))
    assert len(grainy.data) == len(plain.data) + 3
    assert grainy.bits.container == plain.bits.container + 8 * 3


def test_a_picture_without_grain_has_no_section() -> None:
    assert pack(stream(0.4 * GRAIN_STEP)).data == pack(stream()).data


@pytest.mark.parametrize("deviation", [-0.1, MAX_GRAIN + 0.1, float("nan")])
def test_what_is_no_grain_is_not_written(deviation: float) -> None:
    with pytest.raises(StreamError, match="grey levels"):
        encode_grain(deviation)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\1\2"])
def test_what_no_encoder_writes_is_corrupt(payload: bytes) -> None:
    with pytest.raises(StreamCorrupt):
        decode_grain(payload)
