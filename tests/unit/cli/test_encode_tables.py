"""Tables that a folder encode writes while it works."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cli.commands import encode
from cli.local import encode_task
from cli.local.encode_tables import COLUMNS
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8", "--jobs", "1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("a.png", "b.png"):
        write_photo(folder / name)
    (folder / "c.png").write_bytes(b"no picture")
    return folder


def test_tables_have_a_line_for_each_picture_failed_and_done_before_too(
    misc: Misc, photos: Path, tmp_path: Path
) -> None:
    table, lines = tmp_path / "to" / "all.csv", tmp_path / "all.jsonl"
    call = ("encode", photos, "-o", tmp_path / "out", *QUICK, "--csv", table, "--jsonl", lines, "--json")
    result = misc(*call)
    assert result.exit_code == 1
    results = json.loads(result.stdout)["results"]
    assert [json.loads(line) for line in lines.read_text().splitlines()] == results
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["input"] for row in rows] == [str(photos / name) for name in ("a.png", "b.png", "c.png")]
    first = rows[0]
    assert int(first["bytes"]) == (tmp_path / "out" / "a.misc").stat().st_size
    assert sum(int(first[f"{part}_bits"]) for part in ("container", "text", "maps", "coarse")) == 8 * int(
        first["bytes"]
    )
    assert float(first["bpp"]) == results[0]["bpp"] and float(first["seconds"]) > 0
    assert (rows[2]["error_code"], rows[2]["bytes"], rows[2]["skipped"]) == ("picture_unrecognised", "", "no")

    misc(*call)
    with table.open(newline="") as file:
        assert [row["skipped"] for row in csv.DictReader(file)] == ["yes", "yes", "no"]


def test_line_is_in_the_file_before_the_next_picture_is_begun(
    misc: Misc, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tmp_path / "all.jsonl"
    seen: list[int] = []

    def counted(task: encode_task.EncodeTask) -> dict:
        seen.append(len(lines.read_text().splitlines()))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return encode_task.encode_one(task)

    monkeypatch.setattr(encode, "encode_one", counted)
    assert misc("encode", photos, "-o", tmp_path / "out", *QUICK, "--jsonl", lines).exit_code == 130
    assert seen == [0, 1, 2]
    assert len(lines.read_text().splitlines()) == 2


def test_names_that_are_not_utf8_are_kept(misc: Misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png")
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / name)
    table, lines = tmp_path / "all.csv", tmp_path / "all.jsonl"
    misc("encode", tmp_path / "in", "-o", tmp_path / "out", *QUICK, "--csv", table, "--jsonl", lines)
    assert json.loads(lines.read_bytes())["input"] == str(tmp_path / "in" / name)
    assert os.fsencode(tmp_path / "in" / name) in table.read_bytes()


@pytest.mark.parametrize("name", ["photo.png", "photo.misc", "folder"])
def test_table_replaces_no_picture_no_stream_and_no_folder(misc: Misc, photo: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    before = photo.read_bytes()
    result = misc("encode", photo, "-o", tmp_path / "a.misc", *QUICK, "--csv", tmp_path / name)
    assert result.exit_code == 2 and "Traceback" not in result.stderr and name in result.stderr
    assert photo.read_bytes() == before
