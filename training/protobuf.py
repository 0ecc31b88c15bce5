"""Reads the wire format of protocol buffers, as far as graphs of TensorFlow and ONNX need it. It knows no messages."""

from collections.abc import Iterator

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in order: number, and an integer or the bytes. Raises ValueError for other contents."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED_32, _FIXED_64):
            length = 4 if kind == _FIXED_32 else 8
        else:
            raise ValueError(f"field {number} has the unknown kind {kind}")
        if at + length > len(message):
            raise ValueError(f"field {number} reaches beyond the end")
        yield number, message[at : at + length]
        at += length


def messages(message: memoryview, number: int) -> list[memoryview]:
    """The values of a repeated field that are bytes, strings or messages."""
    return [value for found, value in fields(message) if found == number and isinstance(value, memoryview)]


def integers(message: memoryview, number: int) -> list[int]:
    """The values of a repeated field of integers, each written by itself."""
    return [value for found, value in fields(message) if found == number and isinstance(value, int)]


def text(message: memoryview, number: int) -> str:
    """A string field; "" where it is not set."""
    return next((bytes(value).decode() for value in messages(message, number)), "")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("an integer is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
