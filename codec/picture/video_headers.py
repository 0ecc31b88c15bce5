"""What the coded video inside of an AVIF or HEIC file says of its colours, where no box of the file does. It decodes no
pixel.

AV1 bitstream specification, 5.5 (sequence header); ITU-T H.265, 7.3.2.2 and annex E (sequence parameter set, VUI).
Readers of either take the matrix from here themselves; primaries and transfer they leave to whoever shows the picture.
"""

from codec.picture.colour import ColourSignal

_SEQUENCE_HEADER, _MAX_OBUS = 1, 8
_SPS, _EXTENDED_ASPECT_RATIO = 33, 255
_MAX_SETS, _MAX_DELTAS = 64, 16


class _Bits:
    """Fields one after the other, the most significant bit first; beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        return (self._bits >> self._left if self._left >= 0 else 0) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.take(1))

    def exp_golomb(self) -> int:
        zeros = 0
        while zeros < 32 and not self.flag():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def av1_signal(units: bytes) -> ColourSignal | None:
    """The colours in the sequence header among the first open bitstream units (OBUs); None where it says nothing."""
    at = 0
    for _ in range(_MAX_OBUS):
        if at >= len(units):
            return None
        head = units[at]
        at += 2 if head & 4 else 1
        size, at = _leb128(units, at) if head & 2 else (len(units) - at, at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _sequence_colours(_Bits(units[at : at + size]))
        at += size
    return None


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return len(data), len(data)


def _sequence_colours(bits: _Bits) -> ColourSignal | None:
    profile = bits.take(3)
    bits.take(1)
    is_reduced = bits.flag()
    if is_reduced:
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    bits.take(width_bits + height_bits)
    if not is_reduced and bits.flag():
        bits.take(4 + 3)
    bits.take(3)
    if not is_reduced:
        bits.take(4)
        has_order_hint = bits.flag()
        bits.take(2 * has_order_hint)
        forces_tools = True if bits.flag() else bits.flag()
        if forces_tools and not bits.flag():
            bits.take(1)
        bits.take(3 * has_order_hint)
    bits.take(3)
    is_deep = bits.flag()
    if profile == 2 and is_deep:
        bits.take(1)
    if profile != 1:
        bits.take(1)
    return ColourSignal(bits.take(8), bits.take(8)) if bits.flag() else None


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.flag():
        bits.take(64)
        if bits.flag():
            bits.exp_golomb()
        if bits.flag():
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    has_display_delay = bits.flag()
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.flag():
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.flag():
            bits.take(4)


def hevc_signal(configuration: bytes) -> ColourSignal | None:
    """The colours in the sequence parameter set of an `hvcC` box's body; None where it says nothing."""
    at = 23
    for _ in range(configuration[22] if len(configuration) > 22 else 0):
        kind, count = configuration[at : at + 1], int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(min(count, _MAX_SETS)):
            size = int.from_bytes(configuration[at : at + 2], "big")
            unit = configuration[at + 2 : at + 2 + size]
            if kind and kind[0] & 63 == _SPS:
                # A byte of 3 after two zeros keeps contents from looking like the start of a unit.
                return _parameter_set_colours(_Bits(unit[2:].replace(b"\0\0\3", b"\0\0")))
            at += 2 + size
    return None


def _parameter_set_colours(bits: _Bits) -> ColourSignal | None:
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    _skip_profiles(bits, layers)
    bits.exp_golomb()
    if bits.exp_golomb() == 3:
        bits.take(1)
    _skip_numbers(bits, 2)
    if bits.flag():
        _skip_numbers(bits, 4)
    _skip_numbers(bits, 2)
    order_bits = bits.exp_golomb() + 4
    _skip_numbers(bits, 3 * (layers + 1 if bits.flag() else 1))
    _skip_numbers(bits, 6)
    if bits.flag() and bits.flag():
        _skip_scaling_lists(bits)
    bits.take(2)
    if bits.flag():
        bits.take(8)
        _skip_numbers(bits, 2)
        bits.take(1)
    _skip_reference_sets(bits)
    if bits.flag():
        for _ in range(min(bits.exp_golomb(), 33)):
            bits.take(order_bits + 1)
    bits.take(2)
    return _usability_colours(bits) if bits.flag() else None


def _skip_numbers(bits: _Bits, count: int) -> None:
    for _ in range(count):
        bits.exp_golomb()


def _skip_profiles(bits: _Bits, layers: int) -> None:
    bits.take(88 + 8)
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.take(88 * has_profile + 8 * has_level)


def _skip_scaling_lists(bits: _Bits) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():
                bits.exp_golomb()
            else:
                _skip_numbers(bits, (size > 1) + min(64, 1 << (4 + 2 * size)))


def _skip_reference_sets(bits: _Bits) -> None:
    deltas = 0
    for index in range(min(bits.exp_golomb(), _MAX_SETS)):
        if index and bits.flag():
            bits.take(1)
            bits.exp_golomb()
            kept = 0
            for _ in range(deltas + 1):
                is_used = bits.flag()
                kept += is_used or bits.flag()
            deltas = kept
            continue
        negative, positive = min(bits.exp_golomb(), _MAX_DELTAS), min(bits.exp_golomb(), _MAX_DELTAS)
        deltas = negative + positive
        for _ in range(deltas):
            bits.exp_golomb()
            bits.take(1)


def _usability_colours(bits: _Bits) -> ColourSignal | None:
    if bits.flag() and bits.take(8) == _EXTENDED_ASPECT_RATIO:
        bits.take(32)
    if bits.flag():
        bits.take(1)
    if not bits.flag():
        return None
    bits.take(4)
    return ColourSignal(bits.take(8), bits.take(8)) if bits.flag() else None
