"""Variable-length integers of the container: seven bits a byte, lowest first, the top bit set on all but the last.

Only the shortest form of a value is read, so that one stream has one spelling.
"""

from codec.errors import StreamCorrupt, StreamTruncated

MAX_VARINT_BITS = 63
"""Values at and above 2**63 are refused: no field of the format needs them, and databases cannot hold them."""


def write_varint(value: int) -> bytes:
    """The bytes of `value` in [0, 2**63)."""
    if value < 0 or value >> MAX_VARINT_BITS:
        raise ValueError(f"{value} is outside [0, 2**{MAX_VARINT_BITS})")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Read one integer that starts at `position`; no byte at or after `end` is touched.

    Returns the value and the position after it. Raises StreamTruncated when the bytes end first, StreamCorrupt for
    an overlong form or a value of 2**63 and above.
    """
    value = shift = 0
    while True:
        if position >= end:
            raise StreamTruncated("The stream ends inside a number.")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift >= MAX_VARINT_BITS:
            raise StreamCorrupt("A number of the stream has too many bytes.")
    if byte == 0 and shift > 7:
        raise StreamCorrupt("A number of the stream is written longer than it needs to be.")
    return value, position
