"""The map section: where each item is, one bit a block, by an adaptive binary coder that starts from a frozen prior.

It knows nothing of how a mask was made. Every bit's odds come from decided bits around it in its own map and in the
map before it, and from how often the same surroundings went either way in this stream.
"""

from collections.abc import Iterable, Iterator

from codec.bitstream.maps_prior import COUNTS, EDGE_ODDS, ITEM_ODDS
from codec.bitstream.rangecoder import Decoder, Encoder
from codec.bitstream.stream import Maps
from codec.errors import StreamCorrupt, StreamError
from codec.limits import MAX_ITEMS, MAX_MAP_EDGE, MIN_MAP_EDGE

_COUNT_UNIT = 16
"""A decided bit adds this much to its context: priors are kept in sixteenths of a bit."""

_DEFAULT_EDGE = 8


def encode_maps(maps: Maps) -> bytes:
    """The section's payload. Raises StreamError when the maps are not 1 to 3 masks of edge x edge zeros and ones."""
    _check(maps)
    encoder = Encoder()
    encoder.encode(int(maps.edge == _DEFAULT_EDGE), EDGE_ODDS)
    if maps.edge != _DEFAULT_EDGE:
        encoder.encode_bits(maps.edge - 1, 4)
    count = len(maps.masks)
    encoder.encode(int(count == MAX_ITEMS), ITEM_ODDS)
    if count != MAX_ITEMS:
        encoder.encode_bits(count - 1, 1)
    model = _Model()
    before = bytes(maps.edge * maps.edge)
    for index, mask in enumerate(maps.masks):
        for position, context in _contexts(maps.edge, index, mask, before):
            bit = mask[position]
            encoder.encode(bit, model.odds(context))
            model.learn(context, bit)
        before = bytes(a | b for a, b in zip(mask, before, strict=True))
    # An empty payload would not be written at all, so the shortest one is a single byte.
    return encoder.finish() or b"\0"


def decode_maps(payload: bytes) -> Maps:
    """The inverse of `encode_maps`; raises StreamCorrupt for an edge out of bounds or bytes that nothing reads."""
    decoder = Decoder(payload)
    edge = _DEFAULT_EDGE if decoder.decode(EDGE_ODDS) else decoder.decode_bits(4) + 1
    if not MIN_MAP_EDGE <= edge <= MAX_MAP_EDGE:
        raise StreamCorrupt(f"The maps have an edge of {edge}; {MIN_MAP_EDGE} to {MAX_MAP_EDGE} are allowed.")
    count = MAX_ITEMS if decoder.decode(ITEM_ODDS) else decoder.decode_bits(1) + 1
    model = _Model()
    masks: list[bytes] = []
    before = bytes(edge * edge)
    for index in range(count):
        mask = bytearray(edge * edge)
        for position, context in _contexts(edge, index, mask, before):
            bit = decoder.decode(model.odds(context))
            mask[position] = bit
            model.learn(context, bit)
        masks.append(bytes(mask))
        before = bytes(a | b for a, b in zip(mask, before, strict=True))
    if len(payload) > decoder.bytes_read:
        raise StreamCorrupt("The map section has bytes after its last map.")
    return Maps(edge, tuple(masks))


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
        return min(max((ones << 16) // (ones + self._zeros[context]), 32), 65536 - 32)

    def learn(self, context: int, bit: int) -> None:
        """Count a decided bit."""
        if bit:
            self._ones[context] += _COUNT_UNIT
        else:
            self._zeros[context] += _COUNT_UNIT


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
                context += 16 if index == 1 else 144
            yield position, 6 + context


def context_of_bits(maps: Maps) -> Iterable[tuple[int, int]]:
    """Each bit of the maps with the context that it is coded in; what the prior is fitted to."""
    before = bytes(maps.edge * maps.edge)
    for index, mask in enumerate(maps.masks):
        for position, context in _contexts(maps.edge, index, mask, before):
            yield context, mask[position]
        before = bytes(a | b for a, b in zip(mask, before, strict=True))
