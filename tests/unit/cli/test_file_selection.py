"""Nothing that lies in a folder is dropped in silence, and what is there is told from what was there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.local.file_selection import select_files
from cli.local.source_records import NAME, SourceRecord, SourceRecords, SourceState
from tests.unit.cli.conftest import write_photo

QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8", "--jobs", "1")


def test_a_broken_link_is_a_failed_input_and_not_silence(misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").symlink_to("nowhere.png")
    result = misc("encode", tmp_path / "in", "-o", tmp_path / "out", *QUICK, "--json")
    assert result.exit_code == 1
    entries = {Path(entry["input"]).name: entry for entry in json.loads(result.stdout)["results"]}
    assert entries["a.png"]["error"] is None
    assert (
        entries["b.png"]["error"]["code"] == "file_unusable" and "nowhere.png" in entries["b.png"]["error"]["message"]
    )


def test_a_folder_that_cannot_be_read_is_a_failed_input(misc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "closed").mkdir()
    scan = os.scandir

    def refusing(path: str) -> object:  # as root, no mode keeps a folder closed
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = misc("encode", tmp_path / "in", "-o", tmp_path / "out", *QUICK)
    assert result.exit_code == 1
    assert f"{tmp_path}/in/closed: It cannot be read: Permission denied" in result.stderr


def test_linked_folders_other_formats_and_special_files_are_named(misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png")
    write_photo(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "raw.cr3").write_bytes(b"raw")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    result = misc("encode", tmp_path / "in", "-o", tmp_path / "out", *QUICK, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["left_out"] == [
        f"{tmp_path}/in/link is a link to a folder and was not followed; name it to have it taken.",
        f"1 left out as neither a file nor a folder: {tmp_path}/in/pipe.png.",
        "1 left out by the ends of their names: .cr3 1.",
    ]
    assert ".cr3 1" in result.stderr


def test_thumbnails_of_network_storage_and_excluded_names_are_left_out(tmp_path: Path) -> None:
    for name in (
        "a.png",
        "@eaDir/a.png/thumb.png",
        ".thumbnails/t.png",
        "#recycle/old.png",
        "b_small.png",
        "raw/c.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(name) for _, name in select_files([tmp_path], {".png"}).files] == ["a.png", "b_small.png", "raw/c.png"]
    chosen = select_files([tmp_path], {".png"}, ["*_small.png", "raw"])
    assert [str(name) for _, name in chosen.files] == ["a.png"]
    assert any("excluded" in sentence for sentence in chosen.left_out)


def test_a_picture_replaced_by_one_with_an_older_date_is_encoded_again(misc, tmp_path: Path) -> None:
    source, out = tmp_path / "in" / "a.png", tmp_path / "out"
    write_photo(source)
    call = ("encode", tmp_path / "in", "-o", out, *QUICK, "--json")

    def skipped() -> bool:
        return json.loads(misc(*call).stdout)["results"][0]["skipped"]

    assert not skipped() and skipped()
    first = (out / "a.misc").read_bytes()
    Image.fromarray(np.full((60, 90, 3), 9, np.uint8)).save(source)
    os.utime(source, (1_000_000, 1_000_000))
    assert not skipped()
    assert (out / "a.misc").read_bytes() != first
    os.utime(source)  # a new date alone is no other picture
    assert skipped()


def test_records_survive_damaged_lines_and_do_not_grow_without_end(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    records, state = SourceRecords(tmp_path), SourceState.of(file)
    for number in range(150):
        records.add(tmp_path / "sub" / "a.misc", SourceRecord(state, is_stand_in=number == 149))
    with (tmp_path / NAME).open("a") as log:
        log.write('{"output": "half')
    assert records.load() == {"sub/a.misc": SourceRecord(state, is_stand_in=True)}
    assert len((tmp_path / NAME).read_text().splitlines()) == 1
    assert state.is_still(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(0, state.mtime_ns + 1))
    assert not state.is_still(file)
