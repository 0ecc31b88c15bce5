"""The comparison with the published method is a table that can be read, and names only options that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROWS = [line for line in (ROOT / "docs" / "published.md").read_text().splitlines() if line.startswith("|")]


def test_every_row_has_four_cells() -> None:
    assert [row for row in ROWS if len(re.findall(r"(?<!\\)\|", row)) != 5] == []
    assert len(ROWS) > 60


def test_every_option_and_every_test_that_is_named_exists() -> None:
    sources = "".join(path.read_text() for path in (*(ROOT / "cli").rglob("*.py"),))
    options = {option for row in ROWS for option in re.findall(r"`(--[a-z-]+)", row)} - {"--guidance"}
    spelled = {option for option in options if f'"{option}' not in sources and f"/{option}" not in sources}
    # Options without a name of their own are called like their parameter.
    assert {option for option in spelled if f"{option[2:].replace('-', '_')}:" not in sources} == set()
    tests = {path for row in ROWS for path in re.findall(r"`(tests/[\w/]+\.py)`", row)}
    assert len(tests) >= 6 and {path for path in tests if not (ROOT / path).is_file()} == set()


def test_every_divergence_has_its_reason() -> None:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in ROWS]
    same = re.compile(r"^(same\b|`[^`]+`: same|off; `|both forms|`--stage`|none; `--positive|not in the stream)")
    bare = [each[0] for each in cells if not each[3] and not same.match(each[2])]
    assert bare == []
