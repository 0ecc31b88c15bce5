"""Numbers of the container: one spelling each, and nothing read past the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.coding.varint import read_varint, write_varint
from codec.errors import StreamCorrupt, StreamError, StreamTruncated


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4))
def test_any_value_comes_back_and_leaves_what_follows(value: int, tail: bytes) -> None:
    data = write_varint(value)
    assert read_varint(data + tail, 0, len(data) + len(tail)) == (value, len(data))


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (16_384, b"\x80\x80\x01")],
)
def test_length_grows_where_the_format_says(value: int, data: bytes) -> None:
    assert write_varint(value) == data


@given(st.binary(max_size=12))
def test_bytes_that_are_read_are_the_bytes_that_would_be_written(data: bytes) -> None:
    try:
        value, end = read_varint(data, 0, len(data))
    except StreamError:
        return
    assert write_varint(value) == data[:end]


@given(st.integers(0, 2**63 - 1))
def test_cut_number_is_truncated(value: int) -> None:
    data = write_varint(value)
    for end in range(len(data)):
        with pytest.raises(StreamTruncated):
            read_varint(data, 0, end)


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff\x80\x00", b"\x80" * 9 + b"\x01", b"\xff" * 20])
def test_overlong_number_is_corrupt(data: bytes) -> None:
    with pytest.raises(StreamCorrupt):
        read_varint(data, 0, len(data))


@pytest.mark.parametrize("value", [-1, 2**63])
def test_value_outside_the_bounds_cannot_be_written(value: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        write_varint(value)
