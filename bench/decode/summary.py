"""The figures of a folder of comparisons as one table, beside what is asked of a large GPU. Needs no PyTorch.

python -m bench.decode.summary DIR
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {
    "way": "way",
    "dtype": "type",
    "load": "load",
    "requests": "requests",
    "pictures_per_second": "pictures/s",
    "p50": "p50 s",
    "p95": "p95 s",
    "p99": "p99 s",
    "ceiling_share": "of ceiling",
    "peak_bytes": "peak GiB",
}

_ASKED_SPEEDUP, _ASKED_SHARE, _ASKED_FAST = 10.0, 0.45, 4.0
"""Of a picture of 512 x 512 on an H200: staged over the published way, of the ceiling; fast in pictures a second."""

Row = Mapping[str, Any]


def main() -> None:
    """Print the tables and the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode.summary", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    parts = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    compared = {name: rows for name, rows in parts.items() if rows and "way" in rows[0]}
    console = Console(width=130)
    for name, rows in compared.items():
        table = Table(*_COLUMNS.values(), title=f"{name}: {rows[0]['networks']}, ceilings {_ceilings(rows)}")
        for row in rows:
            table.add_row(*(_shown(column, row[column]) for column in _COLUMNS))
        console.print(table)
    for line in verdicts(compared):
        console.print(line, highlight=False)


def verdicts(parts: Mapping[str, Sequence[Row]]) -> list[str]:
    """A sentence for each figure that is asked of a large GPU and was measured with all requests at once."""
    lines = []
    staged = [row for name, rows in parts.items() if name.startswith("staged") for row in rows]
    published, engine = _best(staged, "published"), _best(staged, "engine")
    if engine is not None and published is not None:
        ratio = engine["pictures_per_second"] / published["pictures_per_second"]
        lines.append(f"staged, engine over published way: {ratio:.1f} times (asked {_ASKED_SPEEDUP:g})")
    if engine is not None:
        lines.append(f"staged, share of the ceiling: {engine['ceiling_share']:.1%} (asked {_ASKED_SHARE:.0%})")
    for name, rows in parts.items():
        fast = _best(rows, "engine") if name.startswith("fast") else None
        if fast is not None:
            asked = f" (asked {_ASKED_FAST:g})" if fast["size"] == 512 else ""
            size = f"{fast['size']} x {fast['size']}"
            lines.append(f"fast, {size}: {fast['pictures_per_second']:.2f} pictures a second{asked}")
    return lines


def _best(rows: Sequence[Row], way: str) -> Row | None:
    at_once = [row for row in rows if row["way"] == way and not row["load"]]
    return max(at_once, key=lambda row: float(row["pictures_per_second"]), default=None)


def _ceilings(rows: Sequence[Row]) -> str:
    found = {row["dtype"]: row["ceiling_tflops"] for row in rows}
    return ", ".join(f"{dtype} {tflops:.3g} TFLOPS" for dtype, tflops in found.items())


def _shown(column: str, value: Any) -> str:
    if column == "peak_bytes":
        return f"{value / 2**30:.2f}"
    if column == "ceiling_share":
        return f"{value:.1%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
