"""Prints bits a character of captions that neither the statistics nor the trained numbers have seen.

    python training/measure_text_prior.py      (about six minutes)

Each file is coded with the statistics of all other files, and with numbers trained on the other half of the files.
"""

import sys
from dataclasses import replace
from math import log2
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from codec.bitstream.text.model import TextModel
from codec.bitstream.text.prior import ESCAPE, Tables
from training.fit_text_prior import (
    ENDS,
    LOCAL_DESCRIBER,
    Entry,
    caption_files,
    fit,
    folds,
    others_of,
    read_captions,
    statistics,
    vocabulary,
)


class _Meter:
    """Stands in for an encoder and adds up what the decisions cost."""

    def __init__(self) -> None:
        self.bits = 0.0

    def encode(self, bit: int, p1: int) -> None:
        self.bits -= log2((p1 if bit else 65536 - p1) / 65536)


def _measure_file(job: tuple[list[Entry], list[Entry], list[bytes], Tables]) -> tuple[float, float]:
    """Return the bits that the details and the overall texts of a file take with the statistics of others."""
    left_out, others, words, trained = job
    known = statistics(others, words)
    tables = replace(trained, base=known.tables.base, base_totals=known.tables.base_totals)
    known = replace(known, tables=tables)
    bits = [0.0, 0.0]
    for entry in left_out:
        model, meter = TextModel(known), _Meter()
        for number, (part, end) in enumerate(zip(entry, ENDS, strict=True)):
            before = meter.bits
            for character in part:
                model.code(meter, known.codes.get(character, ESCAPE))  # type: ignore[arg-type]
            model.code(meter, end)  # type: ignore[arg-type]
            bits[number == 3] += meter.bits - before
            if number < 3:
                model.end_text(number == 2)
    return bits[0], bits[1]


def main() -> None:
    """Print bits a character of each file and of all."""
    paths = caption_files()
    files, words = [read_captions(path) for path in paths], vocabulary()
    always = read_captions(LOCAL_DESCRIBER)
    observed = folds(files, words, always)
    trained = []
    for half in (0, 1):
        others = [positions for i, fold in enumerate(observed) if i % 2 != half for positions in fold]
        trained.append(fit(others, statistics([], words).tables))
    jobs = [(files[i], others_of(files, i) + always, words, trained[i % 2]) for i in range(len(files))]
    with Pool(2) as pool:
        spent = pool.map(_measure_file, jobs, chunksize=1)
    letters = [(sum(len(t) for e in file for t in e[:3]), sum(len(e[3]) for e in file)) for file in files]
    for path, bits, characters in zip(paths, spent, letters, strict=True):
        print(f"{path.stem:20} details {bits[0] / characters[0]:.3f}  overall {bits[1] / characters[1]:.3f}")
    for name, columns in (("details", (0,)), ("overall", (1,)), ("all", (0, 1))):
        bits_sum = sum(row[column] for row in spent for column in columns)
        print(f"{name} {bits_sum / sum(row[column] for row in letters for column in columns):.4f}")


if __name__ == "__main__":
    main()
