"""The frozen prior: the pinned file, read quickly, consistent with what it was made from, and made the same again."""

import hashlib
from importlib import resources
from itertools import pairwise

import pytest

from codec.bitstream.coding.mixing import LIMIT, SQUASH, STRETCH, UNIT, log_table
from codec.bitstream.text.model import TextModel, blend
from codec.bitstream.text.prior import (
    END_DETAIL,
    END_OVERALL,
    ESCAPE,
    FIRST_CHARACTER,
    PRIOR_SHA256,
    SYMBOLS,
    Counts,
    load_prior,
    read_prior,
    write_prior,
)

training = pytest.importorskip("training.fit_text_prior", reason="the training is not part of an installation")

TEN_ENTRIES = training.read_captions(training.caption_files()[0])[:10]
PRIOR = resources.files("codec.bitstream.text").joinpath("prior_1.bin").read_bytes()


def counted(history: list[int], symbols: list[int], order: int) -> Counts:
    """What follows the last `order` symbols of `history` in the circle of `symbols`, counted one by one."""
    context, circle = history[len(history) - order :], symbols[len(symbols) - order :] + symbols
    counts: dict[int, int] = {}
    for i in range(len(symbols)):
        if circle[i : i + order] == context:
            after = 1 if symbols[i] == 2 else symbols[i]
            counts[after] = counts.get(after, 0) + 1
    return counts, sum(counts.values())


def test_the_shipped_prior_is_the_one_that_the_format_is_defined_by() -> None:
    assert hashlib.sha256(PRIOR).hexdigest() == PRIOR_SHA256
    assert len(PRIOR) < 3_000_000


def test_a_prior_is_written_as_it_was_read() -> None:
    assert write_prior(read_prior(PRIOR)) == PRIOR


def test_the_index_finds_what_a_plain_count_of_the_corpus_finds() -> None:
    known = training.statistics(TEN_ENTRIES, [])
    corpus: list[int] = []
    for entry in TEN_ENTRIES:
        for text, end in zip(entry, (1, 1, 2, 3), strict=True):
            corpus += [*(known.codes[c] for c in text), end]
    history, lows, highs = [END_OVERALL], *known.narrow([0], [len(corpus)], END_OVERALL)
    for character in "A gray tabby cat sits on a windowsill xq and gazes":
        for order in range(len(lows)):
            assert known.following(lows[order], highs[order], 2) == counted(history, corpus, order)
        history.append(known.codes[character])
        lows, highs = known.narrow(lows, highs, history[-1])


def test_every_symbol_of_the_alphabet_has_a_score_and_no_other() -> None:
    prior = load_prior()
    characters = set(range(FIRST_CHARACTER, FIRST_CHARACTER + len(prior.alphabet)))
    for previous in range(SYMBOLS):
        for kind, end in ((0, END_DETAIL), (1, END_OVERALL)):
            scores = blend(prior.tables, kind, previous, TextModel(prior).sources())
            assert {s for s, score in enumerate(scores) if score} == characters | {ESCAPE, end}


def test_squash_and_stretch_are_inverse_and_symmetric() -> None:
    assert len(SQUASH) == 2 * LIMIT + 1
    assert SQUASH[LIMIT] == 32_768
    assert all(low <= high for low, high in pairwise(SQUASH))
    assert all(abs(SQUASH[LIMIT + x] + SQUASH[LIMIT - x] - 65_536) <= 1 for x in range(LIMIT + 1))
    assert SQUASH[LIMIT + UNIT] == 47_910  # 65,536 / (1 + 1 / e), rounded down
    assert all(abs(SQUASH[STRETCH[q] + LIMIT] - (16 * q + 8)) <= 64 for q in range(4096))


def test_log_table_holds_natural_logarithms() -> None:
    table = log_table(1001, UNIT // 4)
    assert table[0] == -354  # 256 ln 0.25 is -354.9
    assert table[1000] == 1769  # 256 ln 1000.25 is 1768.4
