"""The entropy coder of learned codecs: one asymmetric-numeral-system state, driven by integer tables.

After Duda, "Asymmetric numeral systems" (arXiv 1311.2540), with 16-bit probabilities and words. The state that the
encoder begins with is where the decoder must end, so a check value put there costs nothing beside the state itself.
"""

from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from codec.errors import StreamCorrupt, StreamTruncated
from codec.nets.compression.tables import LOOKUP_SHIFT, PROBABILITY_BITS, Integers, Lookup, Tables, lookup

CHECK_BITS = 32
"""A state is at least 2**32: one more bit than the check value that it begins with."""
STATE_BYTES = 6
"""And below 2**48."""

_LEAST = 1 << CHECK_BITS
_WORD_BITS = 16
_WORD_MASK = (1 << _WORD_BITS) - 1
_REFILL_SHIFT = 8 * STATE_BYTES - PROBABILITY_BITS

_LENGTH_BITS = 5
"""An escape says in 4 bits how many bits its distance has after the first, and in one its side."""

VALUE_LIMIT = (1 << 14) - 1
"""No symbol is larger either way, so an escape's distance has at most 16 bits."""


class Encoder:
    """Takes symbols in coding order and writes them at the end: the last symbol goes first into the state."""

    def __init__(self) -> None:
        self._starts: list[npt.NDArray[np.uint16]] = []
        self._counts: list[npt.NDArray[np.uint16]] = []

    def encode(self, tables: Tables, indexes: Integers, symbols: Integers) -> None:
        """Append a group: `symbols` (n,), each within VALUE_LIMIT, by the tables of `indexes` (n,)."""
        low, high = tables.low[indexes], tables.high[indexes]
        is_outside = (symbols < low) | (symbols > high)
        entries = tables.first[indexes] + np.where(is_outside, high - low + 1, symbols - low)
        self._push(tables.starts[entries], tables.starts[entries + 1])
        if is_outside.any():
            self._push_escapes(symbols[is_outside], low[is_outside], high[is_outside])

    def finish(self, check: int) -> bytes:
        """The payload: the state in 6 bytes, then words of 16 bits, all most significant byte first."""
        state = _LEAST | check
        words = array("H")
        for starts, counts in zip(reversed(self._starts), reversed(self._counts), strict=True):
            for start, count in zip(starts[::-1].tolist(), counts[::-1].tolist(), strict=True):
                count += 1
                if state >= count << _REFILL_SHIFT:
                    words.append(state & _WORD_MASK)
                    state >>= _WORD_BITS
                quotient, remainder = divmod(state, count)
                state = (quotient << PROBABILITY_BITS) + remainder + start
        return state.to_bytes(STATE_BYTES, "big") + np.array(words[::-1], dtype=">u2").tobytes()

    def _push(self, starts: Integers, ends: Integers) -> None:
        # A count of 65536 does not fit 16 bits, so all are kept less one.
        self._starts.append(starts.astype(np.uint16))
        self._counts.append((ends - starts - 1).astype(np.uint16))

    def _push_escapes(self, symbols: Integers, low: Integers, high: Integers) -> None:
        is_below = symbols < low
        distances = np.where(is_below, low - symbols, symbols - high)
        bits = np.frexp(distances)[1].astype(np.int64) - 1
        self._push_bits(bits << 1 | is_below, np.full(len(bits), _LENGTH_BITS))
        self._push_bits(distances - (1 << bits), bits)

    def _push_bits(self, values: Integers, widths: Integers) -> None:
        starts = values << (PROBABILITY_BITS - widths)
        self._push(starts, starts + (1 << (PROBABILITY_BITS - widths)))


class Decoder:
    """Gives the symbols back, group by group, fed with the same tables in the same order."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) < STATE_BYTES:
            raise StreamTruncated(f"A learned codec's payload has at least {STATE_BYTES} bytes, not {len(payload)}.")
        if len(payload) % 2:
            raise StreamCorrupt("A learned codec's payload has an even number of bytes.")
        self._state = int.from_bytes(payload[:STATE_BYTES], "big")
        if self._state < _LEAST:
            raise StreamCorrupt("The learned codec's payload begins with a state that no encoder leaves.")
        # The next word is the last.
        self._words = array("H", np.frombuffer(payload, dtype=">u2", offset=STATE_BYTES)[::-1].astype("=u2").tobytes())

    def decode(self, tables: Tables, indexes: Integers) -> Integers:
        """The next group's symbols, (n,) by the tables of `indexes` (n,); raises StreamTruncated and StreamCorrupt."""
        entries = self._pop(map(tables.lookups.__getitem__, indexes.tolist()))
        symbols = tables.low[indexes] + entries
        is_outside = entries == tables.escapes[indexes]
        if is_outside.any():
            escaped = indexes[is_outside]
            symbols[is_outside] = self._pop_escapes(tables.low[escaped], tables.high[escaped])
        return symbols

    def finish(self, check: int) -> None:
        """Raises StreamCorrupt unless the payload ends here and began with this check value."""
        if self._words:
            raise StreamCorrupt("The learned codec's payload has bytes after its last symbol.")
        if self._state != _LEAST | check:
            raise StreamCorrupt("The learned codec's symbols do not have the check value that they were written with.")

    def _pop(self, lookups: Iterable[Lookup]) -> Integers:
        state, next_word = self._state, self._words.pop
        entries = []
        try:
            for near, starts, counts in lookups:
                place = state & _WORD_MASK
                entry = near[place >> LOOKUP_SHIFT]
                while starts[entry + 1] <= place:
                    entry += 1
                state = counts[entry] * (state >> PROBABILITY_BITS) + place - starts[entry]
                if state < _LEAST:
                    state = state << _WORD_BITS | next_word()
                entries.append(entry)
        except IndexError:
            raise StreamTruncated("The learned codec's payload ends before its last symbol.") from None
        self._state = state
        return np.array(entries, dtype=np.int64)

    def _pop_escapes(self, low: Integers, high: Integers) -> Integers:
        heads = self._pop([_UNIFORM[_LENGTH_BITS]] * len(low))
        bits = heads >> 1
        distances = (1 << bits) + self._pop(map(_UNIFORM.__getitem__, bits.tolist()))
        symbols = np.where(heads & 1, low - distances, high + distances)
        if np.abs(symbols).max() > VALUE_LIMIT:
            raise StreamCorrupt("The learned codec's payload has a value beyond what an encoder writes.")
        return symbols


_UNIFORM = [lookup(list(range(0, (1 << PROBABILITY_BITS) + 1, 1 << (PROBABILITY_BITS - width)))) for width in range(16)]
"""Starts of 2**width entries that are all alike."""
