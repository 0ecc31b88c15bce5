"""Which character comes next: candidates from the frozen corpus, the vocabulary and the texts coded so far.

One TextModel serves one payload. It turns each symbol into a few decisions with integer probabilities and tells
them to a range coder; both directions run the same lines, so that they cannot drift apart.
"""

from bisect import bisect_right
from operator import add
from typing import NamedTuple, TypeVar

from codec.bitstream.coding.mixing import LIMIT, SQUASH, STRETCH, UNIT, log_table
from codec.bitstream.coding.rangecoder import Decoder, Encoder
from codec.bitstream.text.prior import (
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
from codec.errors import StreamCorrupt, StreamLimitExceeded

MAX_DECISIONS = 25_000
"""Decisions a payload may take: five a character of the longest texts, where two and a half are usual. Bounds the time
that hostile payloads take."""

MAX_WORD = 16
"""Symbols of a word that the word contexts see."""

MIN_UNUSED, MAX_UNUSED = 5, 64
"""Words of details, counted with a space behind, that are kept in mind for the overall text, and how many."""

_COUNT_LIMIT = 4096
_LOG_FOR = log_table(_COUNT_LIMIT, UNIT * 15 // 100)
_LOG_AGAINST = log_table(_COUNT_LIMIT, UNIT * 35 // 100)
_MOST = TOTAL_STEPS[-1]
# The parts of an index into Tables.ratios, which has the axes source, total, distinct and kind.
_SOURCE_CELLS = TOTAL_BINS * DISTINCT_BINS * 2
_TOTAL_BIN = [bisect_right(TOTAL_STEPS, n) * DISTINCT_BINS * 2 for n in range(_MOST)]
_LAST_TOTAL = (TOTAL_BINS - 1) * DISTINCT_BINS * 2
_DISTINCT_BIN = [bisect_right(DISTINCT_STEPS, n) * 2 for n in range(SYMBOLS + 1)]
# Contexts of two symbols that the corpus has this often have their blend remembered.
_OFTEN = 200
_EVIDENCE_TABLES = [(i, source, i * RANKS * EVIDENCE_CELLS) for i, source in enumerate(EVIDENCE_SOURCES)]
_EVIDENCE_ROW = MAX_AGAINST + 1
_RANK_CELLS = [min(rank, RANKS - 1) * EVIDENCE_CELLS for rank in range(8)]

CONSTANT = UNIT * 3 // 10
"""Input that is always there; its weights are the bias."""


Context = TypeVar("Context", str, bytes)


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
        self._recent_4: dict[str, Counts] = {}
        self._recent_6: dict[str, Counts] = {}
        self._recent_words: dict[bytes, Counts] = {}
        self._history = ""
        # The word being written, as it is and in lower case, and the two before it in the same text.
        self._word = self._lower_word = self._last_word = self._word_before = b""
        # Where this or the last word and the one before it began. Before the first words both lie so far back that
        # no context reaches them.
        self._word_start = self._last_word_start = -2 * MAX_ORDER
        # Words of the details, in lower case with a space behind, that the overall text has yet to use, and those of
        # them that the present word can become.
        self._unused: list[bytes] = []
        self._possible: list[bytes] = []
        self._space = prior.codes[" "]
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
        symbol = self._choose(coder, wanted, sources, self._blended(sources))
        self.learn(symbol)
        return symbol

    def check_decisions(self) -> None:
        """Raise StreamLimitExceeded when the payload has taken more decisions than one may."""
        if self.decisions > MAX_DECISIONS:
            raise StreamLimitExceeded("the text payload takes more decisions than the format allows")

    def sources(self) -> list[Counts]:
        """What each of SOURCES has counted after the present context, in that order."""
        prior, lows, highs, kind = self._prior, self._lows, self._highs, self._kind
        following, recent_4, recent_6 = prior.following, self._recent_4, self._recent_6
        longest = len(lows) - 1
        history, word = self._history, self._word
        letters = len(word)
        in_word = 0 < letters <= MAX_WORD
        at_start = self._previous == self._space or self._previous < ESCAPE
        last_word = len(history) - (self._last_word_start if letters else self._word_start) + 1
        last_known = last_word <= longest
        return [
            following(lows[2], highs[2], kind) if longest > 1 else NOTHING,
            following(lows[3], highs[3], kind) if longest > 2 else NOTHING,
            following(lows[4], highs[4], kind) if longest > 3 else NOTHING,
            prior.continuing(self._lower_word) if in_word else NOTHING,
            following(lows[letters + 1], highs[letters + 1], 2) if letters < longest else NOTHING,
            following(lows[5], highs[5], kind) if longest > 4 else NOTHING,
            prior.skipping(self._word_before + b"\0" + word) if in_word or at_start else NOTHING,
            recent_4.get(history[-4:], NOTHING),
            self._expected(letters) if kind and (in_word or at_start) else NOTHING,
            self._recent_words.get(self._lower_word, NOTHING) if in_word else NOTHING,
            following(lows[6], highs[6], 2) if longest > 5 else NOTHING,
            following(lows[longest], highs[longest], 2) if longest > 8 else NOTHING,
            following(lows[last_word], highs[last_word], 2) if last_known else NOTHING,
            recent_6.get(history[-6:], NOTHING),
        ]

    def _expected(self, letters: int) -> Counts:
        """Count what follows `letters` letters of the words that the details have and this text has not yet."""
        counts: dict[int, int] = {}
        for word in self._possible if letters else self._unused:
            symbol = word[letters]
            counts[symbol] = counts.get(symbol, 0) + 1
        return counts, sum(counts.values())

    def _blended(self, sources: list[Counts]) -> list[int]:
        """As `blend`; the first source and what lies below it are remembered where the corpus has them often."""
        prior, kind, previous = self._prior, self._kind, self._previous
        if sources[0][1] < _OFTEN:
            return blend(prior.tables, kind, previous, sources)
        key = kind, ord(self._history[-2]), previous
        start = prior.remembered_starts.get(key)
        if start is None:
            row = kind * SYMBOLS + previous
            scores = prior.tables.base[row][:]
            total = _add_sources(prior.tables, kind, scores, prior.tables.base_totals[row], sources[:1], 0)
            start = prior.remembered_starts[key] = scores, total
        scores = start[0][:]
        _add_sources(prior.tables, kind, scores, start[1], sources[1:], 1)
        scores[END_DETAIL if kind else END_OVERALL] = 0
        return scores

    def place(self) -> Place:
        """Return where the model stands, for the training."""
        return Place(self._kind, self._previous, len(self._lows) - 1, len(self._word))

    def _choose(self, coder: Encoder | Decoder, wanted: int | None, sources: list[Counts], scores: list[int]) -> int:
        """Ask for one candidate after the other, best score first, until one is right."""
        tables = self._prior.tables
        all_evidence, symbol_weights = tables.evidence, tables.symbol_weights
        place_weights = self._place_weights()
        # Observations of each source that are still against the candidate; those of former candidates go.
        remaining = [sources[source][1] for source in EVIDENCE_SOURCES]
        evidence = [(i, sources[source][0], table) for i, source, table in _EVIDENCE_TABLES if sources[source][1]]
        most_ranks = MAX_DECISIONS - self.decisions
        rest = sum(scores)
        for rank in range(SYMBOLS):
            best = max(scores)
            if not best:
                break
            symbol = scores.index(best)
            blended = STRETCH[(best << 12) // (rest + 1)]
            capped = rank if rank < 7 else 7
            by_place = place_weights[capped + _CONFIDENCE[blended]]
            by_symbol = symbol_weights[symbol * 4 + (rank if rank < 3 else 3)]
            mixed = (by_place[-2] + by_symbol[-2]) * blended + (by_place[-1] + by_symbol[-1]) * CONSTANT
            cells = _RANK_CELLS[capped]
            for i, counts, table in evidence:
                against = remaining[i]
                times = counts.get(symbol, 0)
                if times:
                    remaining[i] = against = against - times
                if times <= MAX_FOR and against <= MAX_AGAINST:
                    x = all_evidence[table + cells + times * _EVIDENCE_ROW + against]
                else:
                    x = evidence_of(times, against)
                mixed += (by_place[i] + by_symbol[i]) * x
            mixed >>= WEIGHT_SHIFT
            p1 = SQUASH[(LIMIT if mixed > LIMIT else -LIMIT if mixed < -LIMIT else mixed) + LIMIT]
            if rank >= most_ranks:
                self.decisions += rank + 1
                self.check_decisions()
            if wanted is None:
                right = coder.decode(p1)  # type: ignore[union-attr]
            else:
                right = symbol == wanted
                coder.encode(right, p1)  # type: ignore[union-attr]
            if right:
                self.decisions += rank + 1
                return symbol
            rest -= best
            scores[symbol] = 0
        raise StreamCorrupt("the text payload denies every character")

    def _place_weights(self) -> list[list[int]]:
        """The sums of the rows of weights that the place decides on: for each confidence eight, by rank."""
        prior = self._prior
        key = rows_of(self._kind, len(self._lows) - 1, len(self._word))
        known = prior.remembered_weights.get(key)
        if known is None:
            length_row, word_row = key
            by_length = prior.tables.length_weights[length_row : length_row + 8] * 4
            by_word = prior.tables.word_weights[word_row : word_row + 32]
            known = [[*map(add, *rows)] for rows in zip(by_length, by_word, strict=True)]
            prior.remembered_weights[key] = known
        return known

    def learn(self, symbol: int) -> None:
        """Take the symbol that came into the counts of this payload and, unless a text ends, into the context."""
        history = self._history
        _add(self._recent_4, history[-4:], symbol)
        _add(self._recent_6, history[-6:], symbol)
        if 0 < len(self._word) <= MAX_WORD:
            _add(self._recent_words, self._lower_word, symbol)
        if symbol >= ESCAPE:
            self._advance(symbol)

    def _advance(self, symbol: int) -> None:
        lower = self._prior.lower[symbol]
        letters = len(self._word)
        if lower:
            if not letters:
                self._last_word_start, self._word_start = self._word_start, len(self._history)
                self._possible = self._unused
            if letters <= MAX_WORD:
                self._word += bytes((symbol,))
                self._lower_word += bytes((lower,))
                if self._possible:
                    self._possible = [word for word in self._possible if word[letters] == lower]
        elif letters:
            self._end_word()
        if symbol < ESCAPE:
            self._last_word = self._word_before = b""
        self._history += chr(symbol)
        self._previous = symbol
        self._lows, self._highs = self._prior.narrow(self._lows, self._highs, symbol)

    def _end_word(self) -> None:
        word = self._lower_word + bytes((self._space,))
        if word in self._unused:
            if self._kind:
                # Not in place: the words that are possible may be the same list.
                self._unused = [other for other in self._unused if other != word]
        elif not self._kind and len(word) >= MIN_UNUSED and len(self._unused) < MAX_UNUSED:
            self._unused.append(word)
        self._word_before, self._last_word = self._last_word, self._word
        self._word = self._lower_word = b""


def blend(tables: Tables, kind: int, previous: int, sources: list[Counts]) -> list[int]:
    """Score every symbol: each source adds its share of what the less trusted ones amount to, split by its counts."""
    row = kind * SYMBOLS + previous
    scores = tables.base[row][:]
    _add_sources(tables, kind, scores, tables.base_totals[row], sources, 0)
    # The end of the other kind of text cannot come here.
    scores[END_DETAIL if kind else END_OVERALL] = 0
    return scores


def _add_sources(tables: Tables, kind: int, scores: list[int], total: int, sources: list[Counts], first: int) -> int:
    """Add to `scores`, which amount to `total`, the sources from number `first` on. Returns the new total."""
    ratios = tables.ratios
    cell = kind + first * _SOURCE_CELLS
    for counts, count in sources:
        if count:
            distinct = len(counts)
            totals = _TOTAL_BIN[count] if count < _MOST else _LAST_TOTAL
            mass = total * ratios[cell + totals + _DISTINCT_BIN[distinct]] >> 16
            total += mass
            if distinct == 1:
                for symbol in counts:
                    scores[symbol] += mass
            else:
                for symbol, times in counts.items():
                    scores[symbol] += mass * times // count
        cell += _SOURCE_CELLS
    return total


def ratio_cell(source: int, distinct: int, count: int, kind: int) -> int:
    """Where in `Tables.ratios` the share of a source with `count` observations of `distinct` symbols stands."""
    totals = _TOTAL_BIN[count] if count < _MOST else _LAST_TOTAL
    return source * _SOURCE_CELLS + totals + _DISTINCT_BIN[distinct] + kind


def rows_of(kind: int, order: int, word: int) -> tuple[int, int]:
    """First of the eight rows of `length_weights`, and of the 32 rows of `word_weights`, that apply at a place."""
    return (order * 2 + kind) * 8, min(word, 15) * 32


def confidence_of(blended: int) -> int:
    """Which of the four blocks of eight rows of `word_weights` a blended probability belongs to."""
    if blended > 0:
        return 3 if blended > 2 * UNIT else 2
    return 1 if blended > -2 * UNIT else 0


# Where the block of a blended probability begins, negative ones counted from the end.
_CONFIDENCE = [8 * confidence_of(blended) for blended in (*range(LIMIT + 1), *range(-LIMIT, 0))]


def evidence_of(times: int, against: int) -> int:
    """Stretched probability of what came `times` times where something else came `against` times."""
    while times >= _COUNT_LIMIT or against >= _COUNT_LIMIT:
        times, against = times >> 1, against >> 1
    return _LOG_FOR[times] - _LOG_AGAINST[against]


def _add(recent: dict[Context, Counts], context: Context, symbol: int) -> None:
    counts, count = recent.get(context) or ({}, 0)
    counts[symbol] = counts.get(symbol, 0) + 1
    recent[context] = counts, count + 1
