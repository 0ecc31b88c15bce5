"""The frozen statistics behind the text coder: an index of the caption corpus, a vocabulary and trained numbers.

Reads `prior_1.bin`, which never changes; `training/fit_text_prior.py` writes it. Knows nothing of coding.
"""

import hashlib
import sys
import threading
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from itertools import accumulate

PRIOR_VERSION = 1
PRIOR_SHA256 = "155c7745545d8c1a6ad82bcbabd7c61d81cdabc4ad87d32f86ec94d9561fb824"
"""Digest of prior_1.bin. Files coded with another prior would decode to other texts, so it is checked on loading."""

SYMBOLS = 128
"""Symbol codes are below this; the bit above marks, in the index, what stands in an overall text."""

END_DETAIL, BEGIN_OVERALL, END_OVERALL, ESCAPE, FIRST_CHARACTER = 1, 2, 3, 4, 5
"""Codes that are no characters: the end of a detail that another follows, of the last detail, of the overall text
(which also stands before every entry), and a character outside the alphabet."""

MAX_ORDER = 16
"""The longest context that is looked up in the corpus, in symbols."""

SOURCES = ("F2", "F3", "F4", "V1", "W1", "F5", "SK", "H4", "UD", "HW", "O6", "OL", "W2", "H6")
"""Where next-symbol counts come from, least trusted first. F: corpus, last 2 to 5 symbols, same kind of text; O6, OL:
corpus, last 6 and longest known context; W1, W2: corpus, from the start of this and of the previous word; SK: corpus,
this word after the word before the previous one; V1: vocabulary, this word; H4, H6, HW: the texts coded so far, last
4 and 6 symbols and this word; UD: words of the details that the overall text has not used yet."""

EVIDENCE = ("F2", "V1", "W1", "UD")
"""The sources that are asked once more, for each decision by itself."""

EVIDENCE_SOURCES = tuple(SOURCES.index(name) for name in EVIDENCE)

TOTAL_STEPS = (1, 2, 3, 4, 6, 9, 14, 24, 50, 120, 400, 2000)
DISTINCT_STEPS = (2, 3, 4, 6, 9, 15)
TOTAL_BINS, DISTINCT_BINS = len(TOTAL_STEPS) + 1, len(DISTINCT_STEPS) + 1

MAX_FOR, MAX_AGAINST = 16, 24
"""Counts up to these have a trained entry of their own in the evidence tables."""

EVIDENCE_CELLS = (MAX_FOR + 1) * (MAX_AGAINST + 1)
RANKS = 3
"""Evidence tables are kept for the first, the second and all later candidates."""

INPUTS = len(EVIDENCE) + 2
LENGTH_ROWS = (MAX_ORDER + 1) * 2 * 8
SYMBOL_ROWS = SYMBOLS * 4
WORD_ROWS = 16 * 4 * 8
WEIGHT_SHIFT = 14
"""Mixing weights are integers that stand for weight / 2**14."""

BASE_SHIFT = 8
_OCCURRENCE_STEP = 128
_REMEMBERED_ROWS = 24

_MAGIC = b"MTP1"
_BETWEEN = b"\xff"

Counts = tuple[dict[int, int], int]
"""How often each symbol came next, and the sum of that."""
NOTHING: Counts = ({}, 0)


@dataclass(frozen=True)
class Tables:
    """The trained numbers, as they stand in the file. All integers."""

    base: list[list[int]]
    """2 x SYMBOLS rows (kind of text, previous symbol) of SYMBOLS scores that no symbol of the alphabet misses."""
    base_totals: list[int]
    ratios: list[int]
    """SOURCES x TOTAL_BINS x DISTINCT_BINS x 2: share of a source, as share / (1 - share) with 16 fraction bits."""
    evidence: list[int]
    """EVIDENCE x RANKS x EVIDENCE_CELLS stretched probabilities."""
    length_weights: list[list[int]]
    symbol_weights: list[list[int]]
    word_weights: list[list[int]]
    """LENGTH_ROWS, SYMBOL_ROWS and WORD_ROWS rows of INPUTS weights; one row of each is added up."""


@dataclass(frozen=True)
class Prior:
    """Everything that two ends of a text payload must share. Safe to use from any number of threads."""

    alphabet: str
    """Character `i` has the code FIRST_CHARACTER + i."""
    index: bytes
    """The symbol that follows each context of the corpus, contexts in the order of their reversed symbols."""
    words: list[bytes]
    """Sorted words of the vocabulary as symbol codes, each ending with a space."""
    skips: list[bytes]
    """Sorted: a word of the corpus, a zero, the second word after it and the symbol that follows that."""
    tables: Tables
    # A memory of pure functions of the fields above. It holds at most one entry for each frequent context, and
    # a dictionary's item assignment is atomic, so that threads at worst compute an entry twice.
    _remembered: dict[tuple[int, int, int], Counts] = field(default_factory=dict, repr=False)
    _remembered_words: dict[bytes, Counts] = field(default_factory=dict, repr=False)
    remembered_starts: dict[tuple[int, int, int], tuple[list[int], int]] = field(default_factory=dict, repr=False)
    remembered_weights: dict[tuple[int, int], list[list[int]]] = field(default_factory=dict, repr=False)
    """These two for the text model's use, under the same rule: pure functions of their keys."""

    @cached_property
    def codes(self) -> dict[str, int]:
        """Symbol code of each character of the alphabet."""
        return {character: FIRST_CHARACTER + i for i, character in enumerate(self.alphabet)}

    @cached_property
    def lower(self) -> list[int]:
        """For each symbol code that belongs to a word its code in lower case, for all others 0."""
        table = [0] * SYMBOLS
        for character, code in self.codes.items():
            if character.isalpha() or character in "'\u2019":
                table[code] = self.codes.get(character.lower(), code)
        return table

    @cached_property
    def symbols(self) -> bytes:
        """The index without the mark of the kind of text."""
        return self.index.translate(bytes(i & (SYMBOLS - 1) for i in range(256)))

    @cached_property
    def occurrences(self) -> "array[int]":
        """Occurrences of every byte of the index before each _OCCURRENCE_STEP-th row."""
        table = array("I")
        running = [0] * 256
        for start in range(0, len(self.index) + 1, _OCCURRENCE_STEP):
            table.extend(running)
            block = self.index[start : start + _OCCURRENCE_STEP]
            for byte in set(block):
                running[byte] += block.count(byte)
        return table

    @cached_property
    def places(self) -> "list[array[int]]":
        """For each symbol the rows of the index that hold it, in order."""
        table = [array("I") for _ in range(SYMBOLS)]
        for row, symbol in enumerate(self.symbols):
            table[symbol].append(row)
        return table

    @cached_property
    def first_rows(self) -> list[int]:
        """The row at which the contexts that end with each symbol begin."""
        return [0, *accumulate(map(len, self.places))][:-1]

    def narrow(self, lows: list[int], highs: list[int], symbol: int) -> tuple[list[int], list[int]]:
        """Return the rows of all contexts that end with the current ones and `symbol`.

        `lows[k]`, `highs[k]` bound the rows of the context of k symbols; the answer is one longer at most, and
        stops before the first context that the corpus does not have.
        """
        first, places = self.first_rows[symbol], self.places[symbol]
        new_lows, new_highs = [0], [len(self.index)]
        before, after = 0, len(places)
        last_low = last_high = -1
        for low, high in zip(lows[:MAX_ORDER], highs, strict=False):
            if low != last_low or high != last_high:
                # The rows of a longer context lie within those of a shorter one.
                before = bisect_left(places, low, before, after)
                after = bisect_left(places, high, before, after)
                last_low, last_high = low, high
            if after == before:
                break
            new_lows.append(first + before)
            new_highs.append(first + after)
        return new_lows, new_highs

    def following(self, low: int, high: int, kind: int) -> Counts:
        """Count what follows the contexts of rows [low, high): in details (kind 0), overall texts (1) or both (2)."""
        if high - low == 1:
            return self._following_one(low, kind)
        if high - low >= _REMEMBERED_ROWS:
            key = low, high, kind
            known = self._remembered.get(key)
            if known is None:
                known = self._remembered[key] = self._count(low, high, kind)
            return known
        counts: dict[int, int] = {}
        count = 0
        for byte in self.index[low:high]:
            if byte >> 7 == kind or kind == 2:
                symbol = _PLAIN[byte]
                counts[symbol] = counts.get(symbol, 0) + 1
                count += 1
        return counts, count

    def _following_one(self, row: int, kind: int) -> Counts:
        byte = self.index[row]
        return _ONCE[byte] if byte >> 7 == kind or kind == 2 else NOTHING

    def _count(self, low: int, high: int, kind: int) -> Counts:
        """As `following`, for many rows: from the table of occurrences and the rows that stick out of its blocks."""
        rows = self.index[low:high]
        if high - low <= 12 * _OCCURRENCE_STEP:
            times = [(byte, rows.count(byte)) for byte in set(rows)]
        else:
            first, last = -(-low // _OCCURRENCE_STEP), high // _OCCURRENCE_STEP
            rest = rows[: first * _OCCURRENCE_STEP - low] + rows[last * _OCCURRENCE_STEP - low :]
            start, table = SYMBOLS * (kind == 1), self.occurrences
            size = SYMBOLS * (1 + (kind == 2))
            before = table[first * 256 + start : first * 256 + start + size]
            after = table[last * 256 + start : last * 256 + start + size]
            times = [
                (byte, b - a) for byte, a, b in zip(range(start, start + size), before, after, strict=True) if a != b
            ]
            times += [(byte, rest.count(byte)) for byte in set(rest)]
        counts: dict[int, int] = {}
        for byte, count in times:
            if kind == 2 or byte >> 7 == kind:
                symbol = _PLAIN[byte]
                counts[symbol] = counts.get(symbol, 0) + count
        return counts, sum(counts.values())

    def continuing(self, prefix: bytes) -> Counts:
        """Count what follows `prefix`, in lower case, in the words of the vocabulary."""
        return self._continuing(self.words, prefix)

    def skipping(self, prefix: bytes) -> Counts:
        """Count what follows `prefix`: a word, a zero, and what there is of the second word after it."""
        return self._continuing(self.skips, prefix)

    def _continuing(self, sorted_words: list[bytes], prefix: bytes) -> Counts:
        # The two lists cannot be mixed up: prefixes of the second hold a zero.
        known = self._remembered_words.get(prefix)
        if known is not None:
            return known
        low = bisect_left(sorted_words, prefix)
        high = bisect_left(sorted_words, prefix + b"\xff", low)
        counts: dict[int, int] = {}
        size = len(prefix)
        if high - low < _REMEMBERED_ROWS:
            for word in sorted_words[low:high]:
                symbol = word[size]
                counts[symbol] = counts.get(symbol, 0) + 1
            return counts, high - low
        first = low
        while first < high:
            symbol = sorted_words[first][size]
            end = bisect_left(sorted_words, prefix + bytes((symbol + 1,)), first, high)
            counts[symbol] = end - first
            first = end
        self._remembered_words[prefix] = counts, high - low
        return counts, high - low


# Whether another detail follows a detail is not for its text to say: both ends count as one symbol.
_PLAIN = [END_DETAIL if i & (SYMBOLS - 1) == BEGIN_OVERALL else i & (SYMBOLS - 1) for i in range(256)]
_ONCE: list[Counts] = [({symbol: 1}, 1) for symbol in _PLAIN]

_lock = threading.Lock()
_loaded: list[Prior] = []


def load_prior() -> Prior:
    """Return the prior of this version; read once in a process, whichever thread asks first.

    Raises RuntimeError when the shipped file is not the one that the format is defined by.
    """
    with _lock:
        if not _loaded:
            data = resources.files("codec.bitstream.text").joinpath(f"prior_{PRIOR_VERSION}.bin").read_bytes()
            if hashlib.sha256(data).hexdigest() != PRIOR_SHA256:
                raise RuntimeError("prior_1.bin is damaged: its SHA-256 is not the pinned one; install again")
            _loaded.append(read_prior(data))
        return _loaded[0]


def read_prior(data: bytes) -> Prior:
    """Return the prior in `data`, as `write_prior` laid it out."""
    if data[:4] != _MAGIC:
        raise RuntimeError("not a text prior")
    position = 4

    def part() -> bytes:
        nonlocal position
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4 + size
        return data[position - size : position]

    def rows(values: list[int], width: int) -> list[list[int]]:
        return [values[i : i + width] for i in range(0, len(values), width)]

    alphabet, index, words, skips = part().decode("utf-8"), part(), part(), part()
    base, ratios, evidence, length, symbol, place = (_numbers(part()) for _ in range(6))
    tables = Tables(
        rows([value << BASE_SHIFT for value in base], SYMBOLS),
        [sum(base[i : i + SYMBOLS]) << BASE_SHIFT for i in range(0, len(base), SYMBOLS)],
        ratios,
        evidence,
        rows(length, INPUTS),
        rows(symbol, INPUTS),
        rows(place, INPUTS),
    )
    return Prior(alphabet, index, words.split(_BETWEEN), skips.split(_BETWEEN), tables)


def write_prior(prior: Prior) -> bytes:
    """Return the file of `prior`; `read_prior` gives it back. Used by the training alone."""
    tables = prior.tables
    base = [value >> BASE_SHIFT for row in tables.base for value in row]
    weights = (
        [v for row in w for v in row] for w in (tables.length_weights, tables.symbol_weights, tables.word_weights)
    )
    parts = [prior.alphabet.encode("utf-8"), prior.index, _BETWEEN.join(prior.words), _BETWEEN.join(prior.skips)]
    parts += [_packed(values) for values in (base, tables.ratios, tables.evidence, *weights)]
    return _MAGIC + b"".join(len(p).to_bytes(4, "little") + p for p in parts)


def _numbers(data: bytes) -> list[int]:
    """Little-endian signed numbers; the first byte says how many bytes each has."""
    numbers = array({2: "h", 4: "i"}[data[0]], data[1:])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _packed(values: list[int]) -> bytes:
    width = next(w for w in (2, 4) if all(-(1 << 8 * w - 1) <= v < 1 << 8 * w - 1 for v in values))
    return bytes([width]) + b"".join(v.to_bytes(width, "little", signed=True) for v in values)
