"""Reading and writing single bits of foreign headers, most or least significant first. Not the entropy coder."""

from codec.errors import StreamTruncated


class BitReader:
    """Reads fields of a few bits each; running past the end is StreamTruncated."""

    __slots__ = ("_count", "_lowest_first", "_value", "position")

    def __init__(self, data: bytes, *, lowest_first: bool = False) -> None:
        self._value = int.from_bytes(data, "little" if lowest_first else "big")
        self._count = 8 * len(data)
        self._lowest_first = lowest_first
        self.position = 0

    def read(self, count: int) -> int:
        """The next `count` bits as an unsigned integer."""
        end = self.position + count
        if end > self._count:
            raise StreamTruncated("A header of the reference picture ends early.")
        shift = self.position if self._lowest_first else self._count - end
        self.position = end
        return self._value >> shift & ((1 << count) - 1)


class BitWriter:
    """Collects fields of a few bits each, most significant bit first."""

    __slots__ = ("_count", "_value")

    def __init__(self) -> None:
        self._value = self._count = 0

    def write(self, value: int, count: int) -> None:
        """Append the `count` low bits of `value`."""
        self._value = self._value << count | value & ((1 << count) - 1)
        self._count += count

    def to_bytes(self) -> bytes:
        """All fields, padded with zero bits to a whole byte."""
        padding = -self._count % 8
        return (self._value << padding).to_bytes((self._count + padding) // 8, "big")
