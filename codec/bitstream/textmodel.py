"""Which character comes next: candidates from the frozen corpus, the vocabulary and the texts coded so far.

One TextModel serves one payload. It turns each symbol into a few decisions with integer probabilities and tells
them to a range coder; both directions run the same lines, so that they cannot drift apart.
"""

from bisect import bisect_right
from typing import NamedTuple

from codec.bitstream.mixing import LIMIT, SQUASH, STRETCH, UNIT, log_table
from codec.bitstream.prior import (
    BEGIN_OVERALL,
    DISTINCT_BINS,
    DISTINCT_STEPS,
    END_DETAIL,
    END_OVERALL,
    ESCAPE,
    EVIDENCE_CELLS,
    EVIDENCE_SOURCES,
    MAX_AGAINST,
    MAX_FOR,
    MAX_ORDER,
    NOTHING,
    RANKS,
    SYMBOLS,
    TOTAL_BINS,
    TOTAL_STEPS,
    WEIGHT_SHIFT,
    Counts,
    Prior,
    Tables,
)
from codec.bitstream.rangecoder import Decoder, Encoder
from codec.errors import StreamCorrupt, StreamLimitExceeded

MAX_DECISIONS = 40_000
"""Decisions a payload may take. Two and a half a character are usual; the limit bounds the time of hostile ones."""

MAX_WORD = 16
"""Symbols of a word that the word contexts see."""

_COUNT_LIMIT = 4096
_LOG_FOR = log_table(_COUNT_LIMIT, UNIT * 15 // 100)
_LOG_AGAINST = log_table(_COUNT_LIMIT, UNIT * 35 // 100)
_TOTAL_BIN = [bisect_right(TOTAL_STEPS, n) for n in range(TOTAL_STEPS[-1] + 1)]
_DISTINCT_BIN = [bisect_right(DISTINCT_STEPS, n) for n in range(129)]
CONSTANT = UNIT * 3 // 10
"""Input that is always there; its weights are the bias."""


Recent = dict[str, Counts]


class Place(NamedTuple):
    """Where the model stands, apart from the counts."""

    kind: int
    """0 in a detail, 1 in the overall text."""
    previous: int
    """The last symbol."""
    order: int
    """Symbols of the longest context that the corpus has."""
    word: int
    """Symbols of the present word so far."""


class TextModel:
    """The state of one payload's coding: the contexts in the corpus and what has been coded so far."""

    def __init__(self, prior: Prior) -> None:
        self.decisions = 0
        self._prior = prior
        self._kind = 0
        self._recent_4: Recent = {}
        self._recent_6: Recent = {}
        self._recent_words: Recent = {}
        self._history = ""
        # The word being written, as it is and in lower case, and where it and the word before it began. Before the
        # first words both lie so far back that no context reaches them.
        self._word, self._lower_word = "", b""
        self._word_start = self._last_word_start = -2 * MAX_ORDER
        self._previous = END_OVERALL
        self._lows, self._highs = [0], [len(prior.symbols)]
        self._advance(END_OVERALL)

    def end_text(self, overall_next: bool) -> None:
        """Say that another text begins, the overall text or one more detail. Not for the first detail."""
        self._kind = int(overall_next)
        self._advance(BEGIN_OVERALL if overall_next else END_DETAIL)

    def code(self, coder: Encoder | Decoder, wanted: int | None) -> int:
        """Code one symbol: encode `wanted`, or decode when it is None. Returns the symbol.

        A text ends with END_DETAIL or END_OVERALL, by its kind. Raises StreamLimitExceeded past MAX_DECISIONS and
        StreamCorrupt when all symbols were denied.
        """
        sources = self.sources()
        scores = blend(self._prior.tables, self._kind, self._previous, sources)
        symbol = self._choose(coder, wanted, sources, scores)
        self.learn(symbol)
        return symbol

    def sources(self) -> list[Counts]:
        """What each of SOURCES has counted after the present context, in that order."""
        prior, lows, highs, kind = self._prior, self._lows, self._highs, self._kind
        following = prior.following
        longest = len(lows) - 1
        history, word = self._history, self._word
        size = len(history)
        this_word = len(word) + 1
        last_word = size - (self._last_word_start if word else self._word_start) + 1
        in_word = 0 < len(word) <= MAX_WORD
        return [
            following(lows[2], highs[2], kind) if longest >= 2 else NOTHING,
            following(lows[3], highs[3], kind) if longest >= 3 else NOTHING,
            following(lows[4], highs[4], kind) if longest >= 4 else NOTHING,
            prior.continuing(self._lower_word) if in_word else NOTHING,
            following(lows[this_word], highs[this_word], 2) if this_word <= longest else NOTHING,
            following(lows[5], highs[5], kind) if longest >= 5 else NOTHING,
            self._recent_4.get(history[-4:], NOTHING),
            self._recent_words.get(word, NOTHING) if in_word else NOTHING,
            following(lows[last_word], highs[last_word], 2) if last_word <= longest else NOTHING,
            following(lows[6], highs[6], 2) if longest >= 6 else NOTHING,
            following(lows[longest], highs[longest], 2) if longest > 8 else NOTHING,
            self._recent_6.get(history[-6:], NOTHING) if size >= 6 else NOTHING,
        ]

    def place(self) -> Place:
        """Return where the model stands, for the training."""
        return Place(self._kind, self._previous, len(self._lows) - 1, len(self._word))

    def _choose(self, coder: Encoder | Decoder, wanted: int | None, sources: list[Counts], scores: list[int]) -> int:
        """Ask for one candidate after the other, best score first, until one is right."""
        tables = self._prior.tables
        evidence_table = tables.evidence
        evidence = [
            (i, sources[source][0], i * RANKS * EVIDENCE_CELLS)
            for i, source in enumerate(EVIDENCE_SOURCES)
            if sources[source][1]
        ]
        remaining = [sources[source][1] for source in EVIDENCE_SOURCES]
        length_row, word_row = rows_of(self._kind, len(self._lows) - 1, len(self._word))
        rest = sum(scores)
        rank = 0
        while True:
            best = max(scores)
            if best <= 0:
                raise StreamCorrupt("the text payload denies every character")
            symbol = scores.index(best)
            blended = STRETCH[(best << 12) // (rest + 1)]
            confidence = (blended > -2 * UNIT) + (blended > 0) + (blended > 2 * UNIT)
            capped = rank if rank < 7 else 7
            a = tables.length_weights[length_row + capped]
            b = tables.symbol_weights[symbol * 4 + (rank if rank < 3 else 3)]
            c = tables.word_weights[word_row + confidence * 8 + capped]
            mixed = (a[-2] + b[-2] + c[-2]) * blended + (a[-1] + b[-1] + c[-1]) * CONSTANT
            cells = (rank if rank < RANKS - 1 else RANKS - 1) * EVIDENCE_CELLS
            for i, counts, table in evidence:
                times = counts.get(symbol, 0)
                against = remaining[i] = remaining[i] - times
                if times <= MAX_FOR and against <= MAX_AGAINST:
                    x = evidence_table[table + cells + times * (MAX_AGAINST + 1) + against]
                else:
                    x = evidence_of(times, against)
                mixed += (a[i] + b[i] + c[i]) * x
            mixed >>= WEIGHT_SHIFT
            p1 = SQUASH[(LIMIT if mixed > LIMIT else -LIMIT if mixed < -LIMIT else mixed) + LIMIT]
            self.decisions += 1
            if self.decisions > MAX_DECISIONS:
                raise StreamLimitExceeded("the text payload takes more decisions than the format allows")
            if wanted is None:
                right = coder.decode(p1)  # type: ignore[union-attr]
            else:
                right = symbol == wanted
                coder.encode(right, p1)  # type: ignore[union-attr]
            if right:
                return symbol
            rest -= best
            scores[symbol] = 0
            rank += 1

    def learn(self, symbol: int) -> None:
        """Take the symbol that came into the counts of this payload and, unless a text ends, into the context."""
        history = self._history
        _add(self._recent_4, history[-4:], symbol)
        if len(history) >= 6:
            _add(self._recent_6, history[-6:], symbol)
        if 0 < len(self._word) <= MAX_WORD:
            _add(self._recent_words, self._word, symbol)
        if symbol >= ESCAPE:
            self._advance(symbol)

    def _advance(self, symbol: int) -> None:
        lower = self._prior.lower[symbol]
        if lower:
            if not self._word:
                self._last_word_start, self._word_start = self._word_start, len(self._history)
            if len(self._word) <= MAX_WORD:
                self._word += chr(symbol)
                self._lower_word += bytes((lower,))
        elif self._word:
            self._word, self._lower_word = "", b""
        self._history += chr(symbol)
        self._previous = symbol
        self._lows, self._highs = self._prior.narrow(self._lows, self._highs, symbol)


def blend(tables: Tables, kind: int, previous: int, sources: list[Counts]) -> list[int]:
    """Score every symbol: each source adds its share of what the less trusted ones amount to, split by its counts."""
    ratios = tables.ratios
    row = kind * SYMBOLS + previous
    scores = tables.base[row][:]
    total = tables.base_totals[row]
    for source, (counts, count) in enumerate(sources):
        if not count:
            continue
        mass = total * ratios[ratio_cell(source, len(counts), count, kind)] >> 16
        total += mass
        if len(counts) == 1:
            for symbol in counts:
                scores[symbol] += mass
        else:
            for symbol, times in counts.items():
                scores[symbol] += mass * times // count
    # The end of the other kind of text cannot come here.
    scores[END_DETAIL if kind else END_OVERALL] = 0
    return scores


def ratio_cell(source: int, distinct: int, count: int, kind: int) -> int:
    """Where in `Tables.ratios` the share of a source with `count` observations of `distinct` symbols stands."""
    totals = _TOTAL_BIN[count] if count < TOTAL_STEPS[-1] else TOTAL_BINS - 1
    return ((source * TOTAL_BINS + totals) * DISTINCT_BINS + _DISTINCT_BIN[distinct]) * 2 + kind


def rows_of(kind: int, order: int, word: int) -> tuple[int, int]:
    """First of the eight rows of `length_weights`, and of the 32 rows of `word_weights`, that apply at a place."""
    return (order * 2 + kind) * 8, min(word, 15) * 32


def evidence_of(times: int, against: int) -> int:
    """Stretched probability of what came `times` times where something else came `against` times."""
    while times >= _COUNT_LIMIT or against >= _COUNT_LIMIT:
        times, against = times >> 1, against >> 1
    return _LOG_FOR[times] - _LOG_AGAINST[against]


def _add(recent: Recent, context: str, symbol: int) -> None:
    counts, count = recent.get(context) or ({}, 0)
    counts[symbol] = counts.get(symbol, 0) + 1
    recent[context] = counts, count + 1
