"""The map section: where each item is, one bit a block, by an adaptive binary coder that starts from a frozen prior.

It knows nothing of how a mask was made. Every bit's odds come from decided bits around it in its own map and in the
map before it, and from how often the same surroundings went either way in this stream.
"""

from collections.abc import Iterable, Iterator

from codec.bitstream.coding.rangecoder import Decoder, Encoder
from codec.bitstream.maps.prior import COUNTS
from codec.bitstream.stream import Maps
from codec.errors import StreamCorrupt, StreamError
from codec.limits import MAX_ITEMS, MAX_MAP_EDGE, MIN_MAP_EDGE

COUNT_UNIT = 16
"""A decided bit adds this much to its context: priors are kept in sixteenths of a bit."""

_DEFAULT_EDGE = 8

_USUAL_ODDS = 65_000
"""That the edge is 8, that there are three maps, that the model serves: saying so costs 0.036 bit in all."""

_LEAST_ODDS = 32
"""No bit gets less than this of 65536, so that a map unlike any other costs at most 11 bits a bit."""

CONTEXTS = 6 + 16 + 2 * 128
"""Of the first bit of each map; then of the first map; then of the second and of the third."""


def encode_maps(maps: Maps) -> bytes:
    """The section's payload. Raises StreamError when the maps are not 1 to 3 masks of edge x edge zeros and ones."""
    _check(maps)
    # Maps that look like none before would cost more through the model than bit by bit.
    modelled, plain = _write(maps, is_modelled=True), _write(maps, is_modelled=False)
    return plain if len(plain) < len(modelled) else modelled


def decode_maps(payload: bytes) -> Maps:
    """The inverse of `encode_maps`; raises StreamCorrupt for an edge out of bounds or bytes that nothing reads."""
    decoder = Decoder(payload)
    edge = _DEFAULT_EDGE if decoder.decode(_USUAL_ODDS) else decoder.decode_bits(4) + 1
    if not MIN_MAP_EDGE <= edge <= MAX_MAP_EDGE:
        raise StreamCorrupt(f"The maps have an edge of {edge}; {MIN_MAP_EDGE} to {MAX_MAP_EDGE} are allowed.")
    count = MAX_ITEMS if decoder.decode(_USUAL_ODDS) else decoder.decode_bits(1) + 1
    model = _Model() if decoder.decode(_USUAL_ODDS) else None
    masks: list[bytes] = []
    before = bytes(edge * edge)
    for index in range(count):
        mask = bytearray(edge * edge)
        for position, context in _contexts(edge, index, mask, before):
            if model is None:
                mask[position] = decoder.decode_bits(1)
            else:
                mask[position] = decoder.decode(model.odds(context))
                model.learn(context, mask[position])
        masks.append(bytes(mask))
        before = _union(mask, before)
    if len(payload) > decoder.bytes_read:
        raise StreamCorrupt("The map section has bytes after its last map.")
    return Maps(edge, tuple(masks))


def _write(maps: Maps, is_modelled: bool) -> bytes:
    encoder = Encoder()
    encoder.encode(int(maps.edge == _DEFAULT_EDGE), _USUAL_ODDS)
    if maps.edge != _DEFAULT_EDGE:
        encoder.encode_bits(maps.edge - 1, 4)
    count = len(maps.masks)
    encoder.encode(int(count == MAX_ITEMS), _USUAL_ODDS)
    if count != MAX_ITEMS:
        encoder.encode_bits(count - 1, 1)
    encoder.encode(int(is_modelled), _USUAL_ODDS)
    if is_modelled:
        model = _Model()
        for context, bit in bits_in_contexts(maps):
            encoder.encode(bit, model.odds(context))
            model.learn(context, bit)
    else:
        for mask in maps.masks:
            for bit in mask:
                encoder.encode_bits(bit, 1)
    # The container writes no empty sections, so the shortest payload is a single byte.
    return encoder.finish() or b"\0"


def _check(maps: Maps) -> None:
    if not MIN_MAP_EDGE <= maps.edge <= MAX_MAP_EDGE:
        raise StreamError(f"A map's edge must be {MIN_MAP_EDGE} to {MAX_MAP_EDGE} blocks, not {maps.edge}.")
    if not 1 <= len(maps.masks) <= MAX_ITEMS:
        raise StreamError(f"A stream holds 1 to {MAX_ITEMS} maps, not {len(maps.masks)}.")
    for mask in maps.masks:
        if len(mask) != maps.edge * maps.edge or max(mask) > 1:
            raise StreamError(f"A map must be {maps.edge}x{maps.edge} bytes of 0 and 1.")


class _Model:
    """How often each context went to 0 and to 1, the prior's share included, in sixteenths."""

    def __init__(self) -> None:
        self._zeros = [zeros for zeros, _ in COUNTS]
        self._ones = [ones for _, ones in COUNTS]

    def odds(self, context: int) -> int:
        """The probability x 65536 of a 1; never 0 nor 65536, because no count of the prior is zero."""
        ones = self._ones[context]
        return min(max((ones << 16) // (ones + self._zeros[context]), _LEAST_ODDS), 65536 - _LEAST_ODDS)

    def learn(self, context: int, bit: int) -> None:
        """Count a decided bit."""
        if bit:
            self._ones[context] += COUNT_UNIT
        else:
            self._zeros[context] += COUNT_UNIT


def _contexts(edge: int, index: int, mask: bytes | bytearray, before: bytes) -> Iterator[tuple[int, int]]:
    """Every position of a map in row order with its context's number, which looks at decided bits only.

    `before` holds the union of the maps that are already decided. Outside the map the nearest decided neighbour
    stands in, so that a region which touches the border is not taken to end there.
    """
    for row in range(edge):
        for column in range(edge):
            position = row * edge + column
            if position == 0:
                yield position, 2 * index + before[0]
                continue
            north = mask[position - edge] if row else mask[position - 1]
            west = mask[position - 1] if column else north
            north_west = mask[position - edge - 1] if row and column else north
            north_east = mask[position - edge + 1] if row and column + 1 < edge else north
            context = west | north << 1 | north_west << 2 | north_east << 3
            if index:
                east = before[position + 1] if column + 1 < edge else before[position]
                south = before[position + edge] if row + 1 < edge else before[position]
                context |= before[position] << 4 | east << 5 | south << 6
                context += 16 + 128 * (index - 1)
            yield position, 6 + context


def bits_in_contexts(maps: Maps) -> Iterable[tuple[int, int]]:
    """Each bit of the maps with the context that it is coded in; what the prior is fitted to."""
    before = bytes(maps.edge * maps.edge)
    for index, mask in enumerate(maps.masks):
        for position, context in _contexts(maps.edge, index, mask, before):
            yield context, mask[position]
        before = _union(mask, before)


def _union(mask: bytes | bytearray, before: bytes) -> bytes:
    return bytes(a | b for a, b in zip(mask, before, strict=True))
