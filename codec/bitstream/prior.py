"""The frozen statistics behind the text coder: an index of the caption corpus, a vocabulary and trained numbers.

Reads `prior_1.bin`, which never changes; `training/fit_text_prior.py` writes it. Knows nothing of coding.
"""

import hashlib
import threading
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources

PRIOR_VERSION = 1
PRIOR_SHA256 = "f297576246cdc4572e11cfe2d1620bd0737546e734d02afe52a5db8711061d68"
"""Digest of prior_1.bin. Files coded with another prior would decode to other texts, so it is checked on loading."""

SYMBOLS = 128
"""Symbol codes are below this; the bit above marks, in the index, what stands in an overall text."""

END_DETAIL, BEGIN_OVERALL, END_OVERALL, ESCAPE, FIRST_CHARACTER = 1, 2, 3, 4, 5
"""Codes that are no characters: the end of a detail that another follows, of the last detail, of the overall text
(which also stands before every entry), and a character outside the alphabet."""

MAX_ORDER = 16
"""The longest context that is looked up in the corpus, in symbols."""

SOURCES = ("F2", "F3", "F4", "V1", "W1", "F5", "H4", "HW", "W2", "O6", "OL", "H6")
"""Where next-symbol counts come from, least trusted first. F: corpus, last 2 to 5 symbols, same kind of text; O6, OL:
corpus, last 6 and longest known context; W1, W2: corpus, from the start of this and of the previous word; V1:
vocabulary, this word; H4, H6, HW: the texts coded so far, last 4 and 6 symbols and this word."""

EVIDENCE = ("F2", "V1", "W1", "HW", "H6")
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
_OCCURRENCE_STEP = 512
_REMEMBERED_ROWS = 24

_MAGIC = b"MTP1"

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
    tables: Tables
    # A memory of pure functions of the fields above. It holds at most one entry for each frequent context, and
    # a dictionary's item assignment is atomic, so that threads at worst compute an entry twice.
    _remembered: dict[tuple[int, int, int], Counts] = field(default_factory=dict, repr=False)
    _remembered_words: dict[bytes, Counts] = field(default_factory=dict, repr=False)

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
    def by_kind(self) -> tuple[bytes, bytes]:
        """The index with zeros where the symbol stands in the other kind of text: (details, overall texts)."""
        return (
            self.index.translate(bytes(i if i < SYMBOLS else 0 for i in range(256))),
            self.index.translate(bytes(i - SYMBOLS if i >= SYMBOLS else 0 for i in range(256))),
        )

    @cached_property
    def occurrences(self) -> "array[int]":
        """Occurrences of every symbol before each _OCCURRENCE_STEP-th row of the index."""
        table = array("I")
        running = [0] * SYMBOLS
        for start in range(0, len(self.symbols) + 1, _OCCURRENCE_STEP):
            table.extend(running)
            block = self.symbols[start : start + _OCCURRENCE_STEP]
            for symbol in set(block):
                running[symbol] += block.count(symbol)
        return table

    @cached_property
    def first_rows(self) -> list[int]:
        """The row at which the contexts that end with each symbol begin."""
        rows, total = [], 0
        for symbol in range(SYMBOLS):
            rows.append(total)
            total += self.symbols.count(symbol)
        return rows

    def narrow(self, lows: list[int], highs: list[int], symbol: int) -> tuple[list[int], list[int]]:
        """Return the rows of all contexts that end with the current ones and `symbol`.

        `lows[k]`, `highs[k]` bound the rows of the context of k symbols; the answer is one longer at most, and
        stops before the first context that the corpus does not have.
        """
        first, table, symbols = self.first_rows[symbol], self.occurrences, self.symbols
        new_lows, new_highs = [0], [len(symbols)]
        last_low = last_high = -1
        for low, high in zip(lows[:MAX_ORDER], highs, strict=False):
            if low != last_low:
                block = low // _OCCURRENCE_STEP
                before = table[block * SYMBOLS + symbol] + symbols.count(symbol, block * _OCCURRENCE_STEP, low)
                last_low, last_high = low, -1
            if high != last_high:
                if high - low <= 4 * _OCCURRENCE_STEP:
                    after = before + symbols.count(symbol, low, high)
                else:
                    block = high // _OCCURRENCE_STEP
                    after = table[block * SYMBOLS + symbol] + symbols.count(symbol, block * _OCCURRENCE_STEP, high)
                last_high = high
            if after == before:
                break
            new_lows.append(first + before)
            new_highs.append(first + after)
        return new_lows, new_highs

    def following(self, low: int, high: int, kind: int) -> Counts:
        """Count what follows the contexts of rows [low, high): in details (kind 0), overall texts (1) or both (2)."""
        if high - low < _REMEMBERED_ROWS:
            return self._count(low, high, kind)
        key = (low, high, kind)
        known = self._remembered.get(key)
        if known is None:
            known = self._remembered[key] = self._count(low, high, kind)
        return known

    def _count(self, low: int, high: int, kind: int) -> Counts:
        rows = self.symbols[low:high] if kind == 2 else self.by_kind[kind][low:high].replace(b"\0", b"")
        if len(rows) < _REMEMBERED_ROWS:
            counts: dict[int, int] = {}
            for symbol in rows:
                counts[symbol] = counts.get(symbol, 0) + 1
        else:
            counts = {symbol: rows.count(symbol) for symbol in sorted(set(rows))}
        # Whether another detail follows a detail is not for its text to say.
        if BEGIN_OVERALL in counts:
            counts[END_DETAIL] = counts.get(END_DETAIL, 0) + counts.pop(BEGIN_OVERALL)
        return counts, len(rows)

    def continuing(self, prefix: bytes) -> Counts:
        """Count what follows `prefix`, in lower case, in the words of the vocabulary."""
        known = self._remembered_words.get(prefix)
        if known is not None:
            return known
        low = bisect_left(self.words, prefix)
        high = bisect_left(self.words, prefix + b"\xff", low)
        counts: dict[int, int] = {}
        for position in range(low, high):
            symbol = self.words[position][len(prefix)]
            counts[symbol] = counts.get(symbol, 0) + 1
        if high - low >= _REMEMBERED_ROWS:
            self._remembered_words[prefix] = counts, high - low
        return counts, high - low


_lock = threading.Lock()
_loaded: list[Prior] = []


def load_prior() -> Prior:
    """Return the prior of this version; read once in a process, whichever thread asks first.

    Raises RuntimeError when the shipped file is not the one that the format is defined by.
    """
    with _lock:
        if not _loaded:
            data = resources.files("codec.bitstream").joinpath(f"prior_{PRIOR_VERSION}.bin").read_bytes()
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

    alphabet, index, words = part().decode("utf-8"), part(), part()
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
    prior = Prior(alphabet, index, words.split(b"\n"), tables)
    # The derived tables are made now, so that the first text does not pay for them.
    assert prior.codes and prior.lower and prior.by_kind and prior.occurrences and prior.first_rows
    return prior


def write_prior(prior: Prior) -> bytes:
    """Return the file of `prior`; `read_prior` gives it back. Used by the training alone."""
    tables = prior.tables
    base = [value >> BASE_SHIFT for row in tables.base for value in row]
    weights = (
        [v for row in w for v in row] for w in (tables.length_weights, tables.symbol_weights, tables.word_weights)
    )
    parts = [prior.alphabet.encode("utf-8"), prior.index, b"\n".join(prior.words)]
    parts += [_packed(values) for values in (base, tables.ratios, tables.evidence, *weights)]
    return _MAGIC + b"".join(len(p).to_bytes(4, "little") + p for p in parts)


def _numbers(data: bytes) -> list[int]:
    """Little-endian signed numbers; the first byte says how many bytes each has."""
    width = data[0]
    return [int.from_bytes(data[i : i + width], "little", signed=True) for i in range(1, len(data), width)]


def _packed(values: list[int]) -> bytes:
    width = next(w for w in (2, 4) if all(-(1 << 8 * w - 1) <= v < 1 << 8 * w - 1 for v in values))
    return bytes([width]) + b"".join(v.to_bytes(width, "little", signed=True) for v in values)
