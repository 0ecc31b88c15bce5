"""Characters outside the text coder's alphabet, by code point: other scripts, emoji, control characters.

Adapts to the scripts that a payload uses and starts from nothing; knows nothing of the corpus.
"""

from codec.bitstream.coding.rangecoder import Decoder, Encoder
from codec.errors import StreamCorrupt

ESCAPE_WEIGHT = 4
"""What a character counts towards the limit of decisions. It has up to 23, which are cheap ones."""

_LAST_CODE_POINT = 0x10FFFF
_LOW_BITS, _BLOCK_BITS = 7, 14
_EVEN_ODDS = 1 << 15
# Blocks whose numbers have more bits than this lie outside the basic plane, which is rare but for emoji.
_PLANE_BITS, _UNLIKELY = 9, 1 << 12

# A probability moves by 1 / (n + 1.5) of the error while it is young, so that few characters teach it a script, and
# by a fixed share later. In 65,536ths, by how often the probability was used.
_RATES = [65_536 * 2 // (2 * n + 3) for n in range(24)]


class EscapeModel:
    """The adaptive state for one payload."""

    def __init__(self) -> None:
        self._bits: dict[tuple[int, int], tuple[int, int]] = {}
        self._followers: dict[tuple[int, int], int] = {}
        self._last, self._before_last = 0, 0

    def code(self, coder: Encoder | Decoder, wanted: int | None) -> int:
        """Code one code point: encode `wanted`, or decode when it is None. Returns it.

        Raises StreamCorrupt for what is no Unicode character.
        """
        context = self._before_last, self._last
        likely = self._followers.get(context)
        point = None
        if likely is not None and self._bit(coder, (-1, 0), None if wanted is None else wanted == likely):
            point = likely
        if point is None:
            point = self._spelled(coder, wanted)
        self._followers[context] = point
        self._before_last, self._last = self._last, point
        return point

    def _spelled(self, coder: Encoder | Decoder, wanted: int | None) -> int:
        """The block of 128 code points, or that it is the last one's, and the place within it."""
        block = self._last >> _LOW_BITS
        if not self._bit(coder, (-2, 0), None if wanted is None else wanted >> _LOW_BITS == block):
            block = self._number(coder, -3, _BLOCK_BITS, None if wanted is None else wanted >> _LOW_BITS)
        low = self._number(coder, block, _LOW_BITS, None if wanted is None else wanted & (1 << _LOW_BITS) - 1)
        point = block << _LOW_BITS | low
        if point > _LAST_CODE_POINT or 0xD800 <= point <= 0xDFFF:
            raise StreamCorrupt(f"the text payload holds {point:#x}, which is no Unicode character")
        return point

    def _number(self, coder: Encoder | Decoder, tree: int, bits: int, wanted: int | None) -> int:
        node = 1
        for shift in range(bits - 1, -1, -1):
            start = _UNLIKELY if shift >= _PLANE_BITS else _EVEN_ODDS
            node = node << 1 | self._bit(coder, (tree, node), None if wanted is None else wanted >> shift & 1, start)
        return node - (1 << bits)

    def _bit(
        self, coder: Encoder | Decoder, context: tuple[int, int], wanted: int | None, start: int = _EVEN_ODDS
    ) -> int:
        p1, used = self._bits.get(context, (start, 0))
        if isinstance(coder, Encoder):
            assert wanted is not None
            coder.encode(bit := int(wanted), p1)
        else:
            bit = coder.decode(p1)
        p1 += ((65_535 if bit else 1) - p1) * _RATES[used] >> 16
        self._bits[context] = min(max(p1, 32), 65_504), min(used + 1, len(_RATES) - 1)
        return bit
