"""Makes codec/bitstream/text/prior_1.bin from the captions beside this file; the same captions give the same bytes.

    python training/fit_text_prior.py             write the prior and print its digest (about three minutes)
    python training/fit_text_prior.py --check     make it again and compare it with the one that is shipped

Floats are used here, with +, -, * and / only, which round alike everywhere; the prior itself is integers.
"""

import argparse
import hashlib
import sys
from array import array
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codec.bitstream.coding.mixing import LIMIT, SQUASH, STRETCH, UNIT
from codec.bitstream.text import model as text_model
from codec.bitstream.text import prior as priors
from codec.bitstream.text.model import TextModel
from codec.bitstream.text.prior import BEGIN_OVERALL, END_DETAIL, END_OVERALL, ESCAPE, SYMBOLS, Prior, Tables
from training.vocabulary import inflected

HERE = Path(__file__).resolve().parent
CAPTIONS = HERE / "captions"
VOCABULARY = CAPTIONS / "vocabulary.txt"
# Texts of the built-in describer, all of one pattern. They belong to the statistics but are never left out to be
# predicted from the others: nothing that is trained so would suit them or anybody's own words.
LOCAL_DESCRIBER = CAPTIONS / "local_describer.txt"
OUTPUT = HERE.parent / "codec" / "bitstream" / "text" / f"prior_{priors.PRIOR_VERSION}.bin"

# What people and language models write besides ASCII. The rest of Unicode is coded by code point.
_EXTRA = "\néèàçêïôöüñäø°\u2013\u2014\u2018\u2019\u201c\u201d…·\u00d7€£½"
ALPHABET = "".join(map(chr, range(32, 127))) + _EXTRA
assert priors.FIRST_CHARACTER + len(ALPHABET) <= SYMBOLS

# Contexts are ordered by this many symbols; more than the longest context that is ever looked up.
_ORDERED_SYMBOLS = priors.MAX_ORDER + 8
_EM_PASSES = 8
_MIX_PASSES = 6

Entry = tuple[str, str, str, str]
ENDS = END_DETAIL, END_DETAIL, END_DETAIL, END_OVERALL
"""What the texts of an entry end with, in the words of the model."""


def read_captions(path: Path) -> list[Entry]:
    """Return the entries of a caption file: three details and an overall text each, blank lines between."""
    entries = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.strip() for line in block.strip().split("\n")]
        if lines == [""]:
            continue
        if len(lines) != 4:
            raise SystemExit(f"{path.name}: an entry has {len(lines)} lines, not 4: {lines[0][:60]!r}")
        entries.append((lines[0], lines[1], lines[2], lines[3]))
    return entries


def caption_files() -> list[Path]:
    """Return the files of captions that the training predicts from one another, in order."""
    return sorted({*CAPTIONS.glob("*.txt")} - {VOCABULARY, LOCAL_DESCRIBER})


def vocabulary() -> list[bytes]:
    """Return the sorted words of the vocabulary with their inflections, as lower-case symbol codes."""
    codes = {character: priors.FIRST_CHARACTER + i for i, character in enumerate(ALPHABET)}
    words = set()
    for word in inflected(VOCABULARY.read_text(encoding="utf-8")):
        if word.replace("'", "").isalpha() and word.isascii():
            words.add(bytes(codes[c] for c in word.lower() + " "))
    return sorted(words)


def skips_of(entries: list[Entry], known: Prior) -> list[bytes]:
    """Return `Prior.skips`: each word of the corpus with the word before the previous one, and what follows it."""
    skips = []
    for entry in entries:
        for text, end in zip(entry, ENDS, strict=True):
            words = [b"", b""]
            word = b""
            for symbol in (*(known.codes.get(c, ESCAPE) for c in text), end):
                if known.lower[symbol]:
                    word += bytes((symbol,))
                elif word:
                    skips.append(words[-2] + b"\0" + word + bytes((symbol,)))
                    words.append(word)
                    word = b""
    return sorted(skips)


def index_of(entries: list[Entry], codes: dict[str, int]) -> bytes:
    """Return the corpus in the order of its reversed contexts: the symbol after each, marked by kind of text."""
    text = bytearray()
    kinds = bytearray()
    for *details, overall in entries:
        ends = [END_DETAIL] * (len(details) - 1) + [BEGIN_OVERALL, END_OVERALL]
        for kind, (part, end) in zip((0, 0, 0, SYMBOLS), zip((*details, overall), ends, strict=True), strict=True):
            coded = bytes(codes.get(c, ESCAPE) for c in part) + bytes((end,))
            text += coded
            kinds += bytes((kind,)) * len(coded)
    size = len(text)
    backwards = bytes(text + text)[::-1]
    # The text counts as a circle, so that every context has its full length.
    rows = sorted(range(size), key=lambda i: backwards[size - i : size - i + _ORDERED_SYMBOLS])
    return bytes(text[i] | kinds[i] for i in rows)


def base_scores(index: bytes) -> tuple[list[list[int]], list[int]]:
    """Return `Tables.base` and its totals: what follows one symbol, smoothed until every symbol has a score."""
    known = [ESCAPE, *range(priors.FIRST_CHARACTER, priors.FIRST_CHARACTER + len(ALPHABET))]
    rough = Prior("", index, [], [], Tables([], [], [], [], [], [], []))
    base, totals = [], []
    everywhere = _times(index)
    for kind, end in ((0, END_DETAIL), (1, END_OVERALL)):
        allowed = [end, *known]
        for previous in range(SYMBOLS):
            low = rough.first_rows[previous]
            high = rough.first_rows[previous + 1] if previous + 1 < SYMBOLS else len(index)
            part = index[low:high]
            both, own = _times(part), _times(bytes(b for b in part if b >> 7 == kind))
            row = [0] * SYMBOLS
            for symbol in allowed:
                # From all of the corpus to one symbol's followers, to those in this kind of text.
                p = (everywhere[symbol] + 0.5) / (len(index) + 0.5 * len(allowed))
                p = (both[symbol] + 8 * p) / (sum(both) + 8)
                p = (own[symbol] + 12 * p) / (sum(own) + 12)
                if symbol == ESCAPE:
                    # Characters of another script come in runs, of which the corpus has none.
                    p = 0.7 if previous == ESCAPE else max(p, 0.0003)
                elif previous == ESCAPE:
                    p *= 0.3
                row[symbol] = max(int(p * 32000), 1) << priors.BASE_SHIFT
            base.append(row)
            totals.append(sum(row))
    return base, totals


def _times(rows: bytes) -> list[int]:
    times = [0] * SYMBOLS
    for byte in set(rows):
        symbol = byte & (SYMBOLS - 1)
        times[END_DETAIL if symbol == BEGIN_OVERALL else symbol] += rows.count(byte)
    return times


def statistics(entries: list[Entry], words: list[bytes]) -> Prior:
    """Return a prior with the corpus `entries` and tables that are not trained yet."""
    codes = {character: priors.FIRST_CHARACTER + i for i, character in enumerate(ALPHABET)}
    index = index_of(entries, codes)
    skips = skips_of(entries, Prior(ALPHABET, b"", [], [], Tables([], [], [], [], [], [], [])))
    base, totals = base_scores(index)
    sources = len(priors.SOURCES) * priors.TOTAL_BINS * priors.DISTINCT_BINS * 2
    evidence = [
        text_model.evidence_of(times, against) if times or against else 0
        for _ in range(len(priors.EVIDENCE) * priors.RANKS)
        for times in range(priors.MAX_FOR + 1)
        for against in range(priors.MAX_AGAINST + 1)
    ]
    return Prior(ALPHABET, index, words, skips, Tables(base, totals, [1 << 16] * sources, evidence, [], [], []))


@dataclass
class Position:
    """One place in a left-out text: everything the model knows there, and what came."""

    symbol: int
    place: text_model.Place
    sources: list[priors.Counts]
    tables: Tables
    """Of the prior without this text; only the base matters."""


Observed = list[list[Position]]
"""For each entry its positions."""


def observe(left_out: list[Entry], known: Prior) -> Observed:
    """Return what a model of the prior `known` sees at each position of each entry."""
    observed = []
    for entry in left_out:
        model = TextModel(known)
        positions = []
        for number, (part, end) in enumerate(zip(entry, ENDS, strict=True)):
            for symbol in (*(known.codes.get(c, ESCAPE) for c in part), end):
                # Counts of this payload change later, so they are copied.
                sources = [(dict(counts), count) for counts, count in model.sources()]
                positions.append(Position(symbol, model.place(), sources, known.tables))
                model.learn(symbol)
            if number < 3:
                model.end_text(number == 2)
        observed.append(positions)
    return observed


def fit_ratios(observed: Observed) -> list[int]:
    """Find by expectation-maximisation how much to trust each source, by how much it has seen."""
    cells = len(priors.SOURCES) * priors.TOTAL_BINS * priors.DISTINCT_BINS * 2
    trust = [0.5] * cells
    chances = []
    for position in (p for entry in observed for p in entry):
        symbol, (kind, previous, *_) = position.symbol, position.place
        row = kind * SYMBOLS + previous
        seen = [
            (text_model.ratio_cell(source, len(counts), count, kind), counts.get(symbol, 0) / count)
            for source, (counts, count) in enumerate(position.sources)
            if count
        ]
        chances.append((position.tables.base[row][symbol] / position.tables.base_totals[row], seen[::-1]))
    for _ in range(_EM_PASSES):
        hits, tries = [0.5] * cells, [1.0] * cells
        for base, seen in chances:
            left, probability, parts = 1.0, 0.0, []
            for cell, chance in seen:
                part = left * trust[cell] * chance
                parts.append(part)
                probability += part
                left *= 1.0 - trust[cell]
            probability += left * base
            remaining = 1.0
            for (cell, _), part in zip(seen, parts, strict=True):
                hits[cell] += part / probability
                tries[cell] += remaining
                remaining = max(remaining - part / probability, 0.0)
        trust = [min(hit / tried, 0.9995) for hit, tried in zip(hits, tries, strict=True)]
    return [int(t / (1.0 - t) * 65536.0 + 0.5) for t in trust]


_WIDTH = 4 + 2 * len(priors.EVIDENCE)


def decisions(observed: Observed, ratios: list[int]) -> "array[int]":
    """Return the decisions of all positions: right or not, blended probability, three rows; for each evidence the
    cell of its table and, where there is none (-1), the value."""
    out = array("i")
    sources_of = priors.EVIDENCE_SOURCES
    for position in (p for entry in observed for p in entry):
        kind, previous, order, word = position.place
        tables = Tables(position.tables.base, position.tables.base_totals, ratios, [], [], [], [])
        scores = text_model.blend(tables, kind, previous, position.sources)
        length_row, word_row = text_model.rows_of(kind, order, word)
        remaining = [position.sources[source][1] for source in sources_of]
        rest = sum(scores)
        for rank in range(SYMBOLS):
            best = max(scores)
            symbol = scores.index(best)
            blended = STRETCH[(best << 12) // (rest + 1)]
            capped = min(rank, 7)
            rows = (
                length_row + capped,
                symbol * 4 + min(rank, 3),
                word_row + 8 * text_model.confidence_of(blended) + capped,
            )
            features = []
            for i, source in enumerate(sources_of):
                counts, count = position.sources[source]
                times = counts.get(symbol, 0)
                remaining[i] -= times
                if not count:
                    features += [-1, 0]
                elif times <= priors.MAX_FOR and remaining[i] <= priors.MAX_AGAINST:
                    table = i * priors.RANKS + min(rank, priors.RANKS - 1)
                    cell = times * (priors.MAX_AGAINST + 1) + remaining[i]
                    features += [table * priors.EVIDENCE_CELLS + cell, 0]
                else:
                    features += [-1, text_model.evidence_of(times, remaining[i])]
            out.extend(((rows[0] << 1) | (symbol == position.symbol), blended, *rows[1:], *features))
            if symbol == position.symbol:
                break
            rest -= best
            scores[symbol] = 0
    return out


def fit_mixing(steps: "array[int]", untrained: Tables, ratios: list[int]) -> Tables:
    """Train evidence tables and mixing weights by gradient descent on the coding cost; returns complete tables."""
    n = len(priors.EVIDENCE)
    evidence = [float(v) for v in untrained.evidence]
    length = [[0.05] * n + [0.7, 0.05] for _ in range(priors.LENGTH_ROWS)]
    symbols = [[0.0] * priors.INPUTS for _ in range(priors.SYMBOL_ROWS)]
    words = [[0.0] * priors.INPUTS for _ in range(priors.WORD_ROWS)]
    squash = [p / 65536.0 for p in SQUASH]
    inputs = [0.0] * priors.INPUTS
    inputs[-1] = float(text_model.CONSTANT)
    every = range(priors.INPUTS)
    for number in range(_MIX_PASSES):
        rate = 0.002 / UNIT / (1 + number)
        table_rate = 0.02 * UNIT / (1 + 0.5 * number)
        for at in range(0, len(steps), _WIDTH):
            first, inputs[n], b_row, c_row, *features = steps[at : at + _WIDTH]
            right = first & 1
            a, b, c = length[first >> 1], symbols[b_row], words[c_row]
            for i in range(n):
                cell = features[2 * i]
                inputs[i] = evidence[cell] if cell >= 0 else float(features[2 * i + 1])
            mixed = 0.0
            for i in every:
                mixed += (a[i] + b[i] + c[i]) * inputs[i]
            error = right - squash[int(min(max(mixed, -LIMIT), LIMIT)) + LIMIT]
            step = error * rate
            for i in every:
                change = step * inputs[i]
                a[i] += change
                b[i] += change
                c[i] += change
            for cell in features[::2]:
                if cell >= 0:
                    p = squash[int(min(max(evidence[cell], -LIMIT), LIMIT)) + LIMIT]
                    evidence[cell] += table_rate * (right - p) / max(p * (1.0 - p), 0.02)

    def whole(rows: list[list[float]]) -> list[list[int]]:
        return [[int(v * (1 << priors.WEIGHT_SHIFT) + (0.5 if v >= 0 else -0.5)) for v in row] for row in rows]

    limited = [min(max(int(v + (0.5 if v >= 0 else -0.5)), -LIMIT), LIMIT) for v in evidence]
    return Tables(untrained.base, untrained.base_totals, ratios, limited, whole(length), whole(symbols), whole(words))


def _observe_fold(job: tuple[list[Entry], list[Entry], list[bytes]]) -> Observed:
    left_out, others, words = job
    return observe(left_out, statistics(others, words))


def others_of(files: list[list[Entry]], left_out: int) -> list[Entry]:
    """Return the entries of all files but one."""
    return [entry for i, file in enumerate(files) if i != left_out for entry in file]


def folds(files: list[list[Entry]], words: list[bytes], always: list[Entry]) -> list[Observed]:
    """Return, for each file, its positions as seen with the statistics of all other files and of `always`."""
    jobs = [(files[i], others_of(files, i) + always, words) for i in range(len(files))]
    with Pool(2) as pool:
        return pool.map(_observe_fold, jobs, chunksize=1)


def fit(observed: Observed, untrained: Tables) -> Tables:
    """Return tables trained on positions that their statistics have not seen."""
    ratios = fit_ratios(observed)
    return fit_mixing(decisions(observed, ratios), untrained, ratios)


def make_prior(files: list[list[Entry]], words: list[bytes], always: list[Entry]) -> Prior:
    """Return the prior of all `files` of entries and those of `always`, which play no part in the training."""
    whole = statistics(others_of(files, -1) + always, words)
    observed = [positions for fold in folds(files, words, always) for positions in fold]
    return Prior(whole.alphabet, whole.index, words, whole.skips, fit(observed, whole.tables))


def main() -> None:
    """Make or check the prior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the shipped prior instead of writing it")
    given = parser.parse_args()
    files = [read_captions(path) for path in caption_files()]
    words = vocabulary()
    print(f"{len(files)} files, {sum(map(len, files))} entries, {len(words)} words", file=sys.stderr)
    data = priors.write_prior(make_prior(files, words, read_captions(LOCAL_DESCRIBER)))
    digest = hashlib.sha256(data).hexdigest()
    if given.check:
        same = data == OUTPUT.read_bytes()
        print("the same" if same else f"another prior: {digest}")
        sys.exit(0 if same else 1)
    OUTPUT.write_bytes(data)
    print(f"{OUTPUT.name}: {len(data)} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
