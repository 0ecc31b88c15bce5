"""What the header of a JPEG XL codestream says of samples, frames and colours. It decodes no pixel.

ISO/IEC 18181-1, annexes D and E; numbers begin with their least significant bit.
"""

from dataclasses import dataclass

from codec.picture.colour import PRIMARIES, SRGB, Chromaticities, ColourSignal

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_ALPHA, _SPOT, _FILTER_ARRAY = 0, 2, 5
"""Kinds of extra channels that have fields of their own."""

_GREY, _XYB = 1, 2
_CUSTOM = 2
_WHITES = {1: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_ENDS = {1: 1, 9: 9, 11: 12}
"""Primaries of JPEG XL as those of H.273."""

_DCI_TRANSFER, _DCI_GAMMA = 17, 2.6


@dataclass(frozen=True)
class CodestreamHeader:
    """`signal` is None where an ICC profile or nothing tells the colours."""

    width: int
    height: int
    bits: int = 8
    is_float: bool = False
    is_animated: bool = False
    signal: ColourSignal | None = None


class _Bits:
    """Fields one after the other; beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._position = int.from_bytes(data, "little"), 0

    def take(self, count: int) -> int:
        value = self._bits >> self._position & ((1 << count) - 1)
        self._position += count
        return value

    def flag(self) -> bool:
        return bool(self.take(1))

    def choice(self, *ways: tuple[int, int]) -> int:
        """One of four ways, each as (bits, what is added to them)."""
        count, offset = ways[self.take(2)]
        return self.take(count) + offset

    def enum(self) -> int:
        return self.choice((0, 0), (0, 1), (4, 2), (6, 18))

    def coordinate(self) -> float:
        number = self.choice((19, 0), (19, 1 << 19), (20, 1 << 20), (21, 1 << 21))
        return (-(number + 1) // 2 if number & 1 else number // 2) / 1e6


def parse(head: bytes) -> CodestreamHeader:
    """The header in the first bytes after the codestream's signature; 1,000 hold any that is not made to be longer."""
    bits = _Bits(head)
    width, height = _size(bits)
    if bits.flag():
        return CodestreamHeader(width, height)
    is_animated = False
    if bits.flag():
        bits.take(3)  # the orientation, which the reader applies
        if bits.flag():
            _size(bits)
        if bits.flag():
            _skip_preview(bits)
        is_animated = bits.flag()
        if is_animated:
            _skip_animation(bits)
    depth, is_float = _depth(bits)
    bits.take(1)
    for _ in range(min(bits.choice((0, 0), (0, 1), (4, 2), (12, 1)), 256)):
        _skip_channel(bits)
    bits.take(1)
    return CodestreamHeader(width, height, depth, is_float, is_animated, _colours(bits))


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.flag()

    def dimension() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.choice((9, 1), (13, 1), (18, 1), (30, 1))

    height = dimension()
    ratio = bits.take(3)
    if ratio == 0:
        return dimension(), height
    numerator, denominator = _RATIOS[ratio]
    return height * numerator // denominator, height


def _skip_preview(bits: _Bits) -> None:
    ways = ((0, 16), (0, 32), (5, 1), (9, 33)) if bits.flag() else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.choice(*ways)
    if bits.take(3) == 0:
        bits.choice(*ways)


def _skip_animation(bits: _Bits) -> None:
    bits.choice((0, 100), (0, 1000), (10, 1), (30, 1))
    bits.choice((0, 1), (0, 1001), (8, 1), (10, 1))
    bits.choice((0, 0), (3, 0), (16, 0), (32, 0))
    bits.take(1)


def _depth(bits: _Bits) -> tuple[int, bool]:
    if bits.flag():
        depth = bits.choice((0, 32), (0, 16), (0, 24), (6, 1))
        bits.take(4)
        return depth, True
    return bits.choice((0, 8), (0, 10), (0, 12), (6, 1)), False


def _skip_channel(bits: _Bits) -> None:
    if bits.flag():
        return
    kind = bits.enum()
    _depth(bits)
    bits.choice((0, 0), (0, 3), (0, 4), (3, 1))
    bits.take(8 * bits.choice((0, 0), (4, 0), (5, 16), (10, 48)))
    if kind == _ALPHA:
        bits.take(1)
    elif kind == _SPOT:
        bits.take(4 * 16)
    elif kind == _FILTER_ARRAY:
        bits.choice((0, 1), (2, 0), (4, 3), (8, 19))


def _colours(bits: _Bits) -> ColourSignal | None:
    if bits.flag():
        return None
    has_profile, space = bits.flag(), bits.enum()
    if has_profile or space == _XYB:
        return None
    white_kind = bits.enum()
    white = _point(bits) if white_kind == _CUSTOM else _WHITES.get(white_kind, _WHITES[1])
    ends: tuple[float, ...] = SRGB[2:]
    if space != _GREY:
        kind = bits.enum()
        ends = (
            _point(bits) + _point(bits) + _point(bits)
            if kind == _CUSTOM
            else PRIMARIES.get(_ENDS.get(kind, 1), SRGB)[2:]
        )
    found: Chromaticities = (*white, *ends)  # type: ignore[assignment]
    primaries = next((number for number in _ENDS.values() if PRIMARIES[number] == found), None)
    chromaticities = found if primaries is None else None
    if bits.flag():
        exponent = bits.take(24)
        return ColourSignal(primaries, chromaticities=chromaticities, gamma=1e7 / max(exponent, 1))
    transfer = bits.enum()
    gamma = _DCI_GAMMA if transfer == _DCI_TRANSFER else None
    return ColourSignal(primaries, transfer, chromaticities, gamma)


def _point(bits: _Bits) -> tuple[float, float]:
    return bits.coordinate(), bits.coordinate()
