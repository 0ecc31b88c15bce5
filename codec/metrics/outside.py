"""Pictures that somebody else's codec made, in a folder with a table of bytes: one more curve of a comparison."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from codec.errors import OptionError

_COLUMNS = ("file", "bytes")
_MAX_TABLE_BYTES = 16 << 20


@dataclass(frozen=True)
class OutsideFile:
    """One picture as the codec decoded it, and what its file took; `rate` is a point of the codec's curve."""

    path: Path
    bytes: int
    rate: int


@dataclass(frozen=True)
class OutsideCodec:
    """A codec by the name of its folder; its pictures by the original's path in its folder, without a suffix."""

    name: str
    files: Mapping[str, Sequence[OutsideFile]]

    def files_of(self, source: str) -> Sequence[OutsideFile]:
        """Those of an original, by rate. Raises OptionError where there are none."""
        found = self.files.get(_stem(source))
        if not found:
            raise OptionError(f"{self.name} has no picture of {source} in its table.")
        return found


def load_outside(folder: Path) -> OutsideCodec:
    """Read a folder with one CSV file in it, whose columns are `file` and `bytes`, and where there are several points
    of a curve `rate` (1, 2, ...) and `source`, the original's path in its own folder.

    `file` is a picture's path in the folder; without `source` it is the original's but for the suffix. Separators may
    be commas, semicolons or tabs. Raises OptionError, which names the line.
    """
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise OptionError(f"{folder} must have one CSV file with the columns file and bytes; it has {len(tables)}.")
    (table,) = tables
    if table.stat().st_size > _MAX_TABLE_BYTES:
        raise OptionError(f"{table} has more than {_MAX_TABLE_BYTES >> 20} MB; a table of bytes is smaller.")
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    head = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count), skipinitialspace=True)
    if not set(_COLUMNS) <= set(rows.fieldnames or ()):
        raise OptionError(f"{table} must have the columns file and bytes in its first line; it begins with {head!r}.")
    files: dict[str, list[OutsideFile]] = defaultdict(list)
    for row in rows:
        if row["file"]:
            size, rate = (_whole(table, rows.line_num, row, column) for column in ("bytes", "rate"))
            file = OutsideFile(folder / row["file"], size, rate)
            files[_stem(row.get("source") or row["file"])].append(file)
    ordered = {stem: sorted(found, key=lambda file: file.rate) for stem, found in files.items()}
    if any(len({file.rate for file in found}) < len(found) for found in ordered.values()):
        raise OptionError(f"{table} has one picture twice at one rate; say which is which in a column rate.")
    return OutsideCodec(folder.resolve().name, ordered)


def _whole(table: Path, line: int, row: Mapping[str, str | None], column: str) -> int:
    value = row.get(column)
    if column == "rate" and not value:
        return 1
    # Digits of other scripts are digits to Python too, and `int` takes any number of them.
    if value is None or not value.strip().isascii() or not value.strip().isdigit() or not 0 < int(value[:12]) < 10**11:
        raise OptionError(f"{table}, line {line}: {column} must be a whole number above 0, not {value!r}.")
    return int(value)


def _stem(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")).with_suffix(""))
