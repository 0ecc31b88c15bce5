"""When and where a picture was taken, kept beside its stream where that is asked for."""

import json
import os
import pickle
import struct
from pathlib import Path

from PIL import Image

from cli.commands import encode
from cli.local.encode_task import EncodeTask
from codec.picture.capture import Capture, capture_of
from tests.unit.picture.test_tiff import PICTURE, grey_page, tiff

QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8", "--jobs", "1")


def taken(path: Path, **options: object) -> None:
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(0x8769).update({36867: "2026:11:29 12:34:56", 36881: "+01:00"})
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 36.0), 3: "E", 4: (151.0, 12.0, 0.0), 5: 0, 6: 58.5})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), "teal").save(path, exif=exif, **options)


def test_date_and_place_are_read_from_every_format_that_has_them(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp", "a.avif"):
        taken(tmp_path / name)
        assert capture_of(tmp_path / name) == Capture("2026-11-29T12:34:56+01:00", -33.86, 151.2, 58.5), name
    Image.new("RGB", (9, 9)).save(tmp_path / "none.png")
    assert capture_of(tmp_path / "none.png") == Capture()


def test_moment_that_never_was_is_none(tmp_path: Path) -> None:
    for date in ("0000:00:00 00:00:00", "2026:13:45 12:00:00", "2026:11:29 99:00:00", "    :  :     :  :  ", "today"):
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({36867: date})
        Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg", exif=exif)
        assert capture_of(tmp_path / "a.jpg") == Capture(), date


def test_damaged_directories_of_tags_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    taken(path)
    whole = path.read_bytes()
    start, size = whole.index(b"Exif"), struct.unpack(">H", whole[4:6])[0]
    for at in range(start + 6, start + size - 2, 3):
        for value in (0, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            assert isinstance(capture_of(path), Capture)


def test_date_is_read_from_a_tiff_file_too(tmp_path: Path) -> None:
    date = b"2026:11:29 12:34:56\0"

    def file(at: int) -> bytes:
        details = struct.pack("<HHHLL", 1, 36867, 2, len(date), at + 18) + bytes(4) + date
        return tiff(grey_page(tag_34665=(4, [at])), PICTURE.tobytes(), follow=details)

    (tmp_path / "a.tif").write_bytes(file(len(tiff(grey_page(tag_34665=(4, [0])), PICTURE.tobytes()))))
    assert capture_of(tmp_path / "a.tif") == Capture("2026-11-29T12:34:56")


def test_metadata_lies_beside_the_stream_where_asked_and_nowhere_else(misc, tmp_path: Path) -> None:
    source, out = tmp_path / "in" / "a.jpg", tmp_path / "out"
    taken(source)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    assert misc("encode", tmp_path / "in", "-o", out, *QUICK).exit_code == 0
    assert not (out / "a.meta.json").exists()
    result = misc("encode", tmp_path / "in", "-o", out, *QUICK, "--keep-metadata")
    assert result.exit_code == 0, result.stderr
    assert json.loads((out / "a.meta.json").read_text()) == {
        "file": "a.jpg",
        "modified_at": "2023-11-14T22:13:20+00:00",
        "taken_at": "2026-11-29T12:34:56+01:00",
        "latitude": -33.86,
        "longitude": 151.2,
        "altitude_m": 58.5,
    }
    assert b"2026" not in (out / "a.misc").read_bytes()
    assert misc("encode", "-", "-o", "-", *QUICK, "--keep-metadata", input=b"").exit_code == 2


def test_a_picture_takes_its_own_description_along_and_not_the_table(tmp_path: Path, monkeypatch) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    table = tmp_path / "captions.csv"
    rows = "".join(f"{number}.png,A text of some length that is number {number}.\n" for number in range(20_000))
    table.write_text(f"name,caption\na.png,First.\n{rows}")
    sent: list[EncodeTask] = []
    monkeypatch.setattr(encode, "run_all", lambda _work, tasks, *_: sent.extend(tasks) or [])
    monkeypatch.setattr(encode, "_report", lambda *_: None)
    from typer.testing import CliRunner

    from cli.main import build_app

    CliRunner().invoke(build_app(), ["encode", str(tmp_path), "-o", str(tmp_path / "out"), "--describe", str(table)])
    assert [len(pickle.dumps(task)) < 10_000 for task in sent] == [True, True]
    assert sent[0].captions is not None and sent[0].captions.lookup("a.png").overall == "First."
    assert "b.png" in str(sent[1].fault)
