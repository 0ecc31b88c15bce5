"""Tables of what a folder encode made, written while it works: a line as each picture ends, so that a call that is
stopped leaves what it knew."""

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from codec.errors import OptionError
from codec.media import MISC, PICTURE_SUFFIXES, SUFFIXES

_PARTS = ("container", "text", "maps", "coarse")

COLUMNS = (
    "input", "output", "bytes", "bpp", *(f"{part}_bits" for part in _PARTS),
    "seconds", "describer", "skipped", "error_code", "error_message",
)  # fmt: skip
"""Of the CSV table; `bpp` is that of the whole file, `skipped` that an earlier run made it."""


class _Form(Protocol):
    def add(self, result: dict[str, Any]) -> None:
        """Write a result of `misc encode --json` down."""


class Tables:
    """All tables of one call; a context manager that closes them."""

    def __init__(self, files: ExitStack, forms: Sequence[_Form]) -> None:
        self._files, self._forms = files, forms

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, result: dict[str, Any]) -> None:
        """Write a result into each table. It is in the file when this returns."""
        for form in self._forms:
            form.add(result)


def open_tables(csv_path: Path | None, jsonl_path: Path | None) -> Tables:
    """Begin the tables that have a path, in place of those that were there.

    Raises OptionError for the name of a picture or a stream, which would be lost, and OSError.
    """
    files, forms = ExitStack(), list[_Form]()
    for flag, path in (("--csv", csv_path), ("--jsonl", jsonl_path)):
        if path is not None and path.suffix.lower() in (*PICTURE_SUFFIXES, *SUFFIXES[MISC]):
            raise OptionError(f"{flag} would replace {path}, which by its name is a picture or a stream.")
    if csv_path is not None:
        forms.append(_CSV(files.enter_context(_opened(csv_path, errors="surrogateescape"))))
    if jsonl_path is not None:
        # What is not UTF-8 in a name becomes the escape that JSON has for it.
        forms.append(_JSONLines(files.enter_context(_opened(jsonl_path, errors="backslashreplace"))))
    return Tables(files, forms)


def _opened(path: Path, *, errors: str) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", buffering=1, encoding="utf-8", errors=errors, newline="\n")


class _CSV:
    def __init__(self, file: TextIO) -> None:
        self._file, self._writer = file, csv.writer(file, lineterminator="\n")
        self._write(COLUMNS)

    def add(self, result: dict[str, Any]) -> None:
        bits, seconds, error = (result.get(key) or {} for key in ("bits", "seconds", "error"))
        self._write(
            (
                *(result.get(key) for key in ("input", "output", "bytes", "bpp")),
                *(bits.get(part) for part in _PARTS),
                seconds.get("total"),
                result.get("describer"),
                "yes" if result.get("skipped") else "no",
                error.get("code"),
                error.get("message"),
            )
        )

    def _write(self, row: Sequence[object]) -> None:
        self._writer.writerow(row)
        self._file.flush()


class _JSONLines:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def add(self, result: dict[str, Any]) -> None:
        self._file.write(json.dumps(result, ensure_ascii=False) + "\n")
        self._file.flush()
