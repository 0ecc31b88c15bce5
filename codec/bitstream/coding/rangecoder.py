"""Binary arithmetic coder that every payload of the format shares.

Integers only, so that the same bytes mean the same bits on every machine. Carry-free interval coder over a 48-bit
register: wide enough that the loss against the model's entropy is below 0.0001 bit a decision. A payload ends with
the shortest byte string that still identifies the interval, and trailing zero bytes are dropped: the decoder reads
zeros past the end, which costs nothing to verify because the container knows every payload's length.
"""

from collections.abc import Iterable

PROBABILITY_BITS = 16
"""A probability is an integer p in [1, 65535] that stands for p / 65536."""

_REGISTER_BITS = 48
REGISTER_BYTES = _REGISTER_BITS // 8
"""A decoder reads this many bytes ahead."""

_MASK = (1 << _REGISTER_BITS) - 1
_TOP_SHIFT = _REGISTER_BITS - 8
_TOP_BYTE = 1 << _TOP_SHIFT
"""What differs by less than this has the same top byte."""
_EVEN_ODDS = 1 << (PROBABILITY_BITS - 1)


class Encoder:
    """Turns decisions and their probabilities into bytes."""

    __slots__ = ("_bytes", "_high", "_low")

    def __init__(self) -> None:
        self._low, self._high = 0, _MASK
        self._bytes = bytearray()

    def encode(self, bit: int, p1: int) -> None:
        """Append one decision; `p1` in [1, 65535] is the probability x 65536 that it is 1."""
        low, high = self._low, self._high
        middle = low + (((high - low) * p1) >> PROBABILITY_BITS)
        if bit:
            high = middle
        else:
            low = middle + 1
        while (low ^ high) < _TOP_BYTE:
            self._bytes.append(high >> _TOP_SHIFT)
            low = (low << 8) & _MASK
            high = ((high << 8) & _MASK) | 0xFF
        self._low, self._high = low, high

    def encode_all(self, bits: Iterable[int], odds: Iterable[int]) -> None:
        """Append decisions whose probabilities are all known; the same as one `encode` after the other, but faster."""
        low, high, append = self._low, self._high, self._bytes.append
        for bit, p1 in zip(bits, odds, strict=True):
            middle = low + (((high - low) * p1) >> PROBABILITY_BITS)
            if bit:
                high = middle
            else:
                low = middle + 1
            while (low ^ high) < _TOP_BYTE:
                append(high >> _TOP_SHIFT)
                low = (low << 8) & _MASK
                high = ((high << 8) & _MASK) | 0xFF
        self._low, self._high = low, high

    def encode_bits(self, value: int, count: int) -> None:
        """Append the `count` low bits of `value`, highest first, without a model."""
        for shift in range(count - 1, -1, -1):
            self.encode(value >> shift & 1, _EVEN_ODDS)

    @property
    def bytes_written(self) -> int:
        """Bytes that no later decision changes; `finish` adds some and drops zeros at the end."""
        return len(self._bytes)

    def finish(self) -> bytes:
        """Close the interval with as few bytes as it takes and return the payload."""
        for count in range(_REGISTER_BITS // 8 + 1):
            unit = 1 << (_REGISTER_BITS - 8 * count)
            value = -(-self._low // unit) * unit
            if value <= self._high:
                self._bytes += value.to_bytes(_REGISTER_BITS // 8, "big")[:count]
                break
        return bytes(self._bytes).rstrip(b"\0")


class Decoder:
    """Gives the decisions back, fed with the same probabilities in the same order."""

    __slots__ = ("_data", "_high", "_low", "_position", "_value")

    def __init__(self, data: bytes) -> None:
        width = _REGISTER_BITS // 8
        self._data = data
        self._position = width
        self._low, self._high = 0, _MASK
        self._value = int.from_bytes(data[:width].ljust(width, b"\0"), "big")

    @property
    def bytes_read(self) -> int:
        """Payload bytes taken in so far, zeros past its end included: a longer payload has bytes nobody wrote."""
        return self._position

    def decode(self, p1: int) -> int:
        """The next decision; `p1` as in `Encoder.encode`."""
        low, high = self._low, self._high
        middle = low + (((high - low) * p1) >> PROBABILITY_BITS)
        if self._value <= middle:
            bit = 1
            high = middle
        else:
            bit = 0
            low = middle + 1
        while (low ^ high) < _TOP_BYTE:
            low = (low << 8) & _MASK
            high = ((high << 8) & _MASK) | 0xFF
            position = self._position
            byte = self._data[position] if position < len(self._data) else 0
            self._value = ((self._value << 8) & _MASK) | byte
            self._position = position + 1
        self._low, self._high = low, high
        return bit

    def decode_bits(self, count: int) -> int:
        """The next `count` bits that were appended without a model."""
        value = 0
        for _ in range(count):
            value = value << 1 | self.decode(_EVEN_ODDS)
        return value
