"""`misc encode`: files, folders, options, errors and the JSON that other programs read."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from codec.bitstream import RefCoarse, unpack
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8")


def results_of(result: Result) -> list[dict]:
    return json.loads(result.stdout)["results"]


def test_file_becomes_a_file_and_json_is_all_there_is_on_stdout(misc: Misc, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.misc"
    result = misc("encode", photo, "-o", out, *QUICK, "--text", "A slope.", "--json")
    assert result.exit_code == 0, result.stderr
    (entry,) = results_of(result)
    assert entry["input"] == str(photo) and entry["output"] == str(out)
    assert entry["bytes"] == out.stat().st_size and sum(entry["bits"].values()) == 8 * entry["bytes"]
    assert entry["bpp"] == 8 * entry["bytes"] / (90 * 60)
    assert set(entry["bits"]) == {"container", "text", "maps", "coarse"}
    assert set(entry["seconds"]) == {"describe", "locate", "coarse", "pack", "total"}
    assert entry["describer"] == "given" and entry["error"] is None
    stream = unpack(out.read_bytes()).stream
    assert (stream.width, stream.height, stream.texts.overall) == (90, 60, "A slope.")


def test_second_run_skips_what_is_done_and_force_does_it_again(misc: Misc, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.png", "c.png"):
        write_photo(source / name)
    call = ("encode", source, "-o", out, *QUICK, "--jobs", "1", "--json")
    assert [entry["skipped"] for entry in results_of(misc(*call))] == [False] * 3
    (out / "b.misc").write_bytes(b"damaged")
    os.utime(source / "a.png", (time.time() + 10,) * 2)
    Image.new("RGB", (9, 9)).save(source / "c.png")
    os.utime(source / "c.png", (1, 1))
    again = results_of(misc(*call))
    assert [entry["skipped"] for entry in again] == [True, False, False]
    assert again[0]["bytes"] == (out / "a.misc").stat().st_size
    assert [entry["skipped"] for entry in results_of(misc(*call, "--force"))] == [False] * 3
    other_level = misc(*call[:-1], "--level", "4", "--json")
    assert [entry["skipped"] for entry in results_of(other_level)] == [False] * 3


@pytest.mark.parametrize(
    ("first", "second", "is_done"),
    [
        (("--blocks", "8"), ("--blocks", "8"), True),
        (("--blocks", "8"), ("--blocks", "9"), False),
        (("--blocks", "8"), ("--blocks", "8", "--published-grid"), False),
        (("--blocks", "200"), ("--blocks", "100"), True),
        (("--text", "A slope."), ("--text", "A slope."), True),
        (("--text", "A slope."), ("--text", "A hill."), False),
        (("--text", "A slope."), ("--describe", "none"), False),
        (("--text", "A slope."), (), False),
        (("--describe", "none"), (), False),
        ((), (), True),
        ((), ("--maps", "off"), False),
        ((), ("--describe", "none"), False),
        (("--maps", "off"), ("--maps", "off"), True),
        (("--maps", "off"), (), False),
        (("--text", "A", "--profile", "lite"), ("--text", "A"), True),
        (("--text", "A", "--mode", "ref", "--max-bpp", "4"), ("--text", "A", "--mode", "ref", "--max-bpp", "4"), True),
        (("--text", "A", "--mode", "ref", "--max-bpp", "4"), ("--text", "A", "--mode", "ref"), False),
        (("--text", "A", "--mode", "ref", "--max-bpp", "4"), ("--text", "A"), False),
    ],
)
def test_second_run_skips_only_what_it_would_make_itself(
    misc: Misc, tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], is_done: bool
) -> None:
    write_photo(tmp_path / "in" / "a.png")
    # Of an option that is given twice the last one counts.
    call = ("encode", tmp_path / "in", "-o", tmp_path / "out", "--mode", "pixel", "--jobs", "1", "--json")
    assert misc(*call, *first).exit_code == 0
    (again,) = results_of(misc(*call, *second))
    assert again["error"] is None and again["skipped"] is is_done


def test_default_is_avif_within_its_budget_and_done_once(misc: Misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png", 512, 384)
    call = ("encode", tmp_path / "in", "-o", tmp_path / "out", "--describe", "none", "--jobs", "1", "--json")
    (first,) = results_of(misc(*call))
    coarse = unpack((tmp_path / "out" / "a.misc").read_bytes()).stream.coarse
    assert isinstance(coarse, RefCoarse) and coarse.codec == "avif"
    assert first["error"] is None and first["notes"] == [] and first["bpp"] <= 0.05
    skipped = [results_of(misc(*call, *words))[0]["skipped"] for words in ((), ("--mode", "ref"), ("--mode", "pixel"))]
    assert skipped == [True, True, False]


def test_second_run_with_changed_captions_or_a_reference_encodes_again(misc: Misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png")
    table, reference = tmp_path / "captions.csv", tmp_path / "vvc.png"
    write_photo(reference)
    call = ("encode", tmp_path / "in", "-o", tmp_path / "out", "--jobs", "1", "--json", "--describe", table)
    call += ("--mode", "pixel")
    skipped = []
    for overall in ("All of it.", "All of it.", "Most of it."):
        table.write_text(f'name,prompt\na.png,"x, y, z.\nAn x\nA y\nA z\n{overall}"\n')
        skipped += [entry["skipped"] for entry in results_of(misc(*call))]
    for words in (
        ("--mode", "ref", "--max-bpp", "9"),
        ("--mode", "ref", "--reference", reference, "--reference-bpp", "0.03"),
    ):
        skipped += [entry["skipped"] for entry in results_of(misc(*call, *words))]
    assert skipped == [False, True, False, False, False]


def bad_inputs(folder: Path) -> dict[str, str]:
    """File name to the code of its error."""
    folder.mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is a text, not a photo")
    write_photo(folder / "whole.jpg", 300, 200)
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.jpg").unlink()
    png = bytearray(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\2\0\0\0")
    import zlib

    png += zlib.crc32(png[12:]).to_bytes(4, "big") + b"\0\0\0\x04IDAT" + bytes(4) + b"\0\0\0\0"
    (folder / "huge.png").write_bytes(png)
    return {
        "empty.png": "picture_empty",
        "text.jpg": "picture_unrecognised",
        "cut.jpg": "picture_truncated",
        "huge.png": "picture_too_large",
    }


def test_bad_inputs_are_named_and_do_not_stop_the_rest(misc: Misc, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    expected = bad_inputs(source)
    write_photo(source / "good.png")
    result = misc("encode", source, "-o", out, *QUICK, "--jobs", "1", "--json")
    assert result.exit_code == 1
    codes = {Path(entry["input"]).name: entry["error"] and entry["error"]["code"] for entry in results_of(result)}
    assert codes == {**expected, "good.png": None}
    assert [path.name for path in out.glob("[!.]*")] == ["good.misc"]
    for name in expected:
        assert name in result.stderr


def test_single_bad_input_exits_1_with_a_sentence_and_no_output(misc: Misc, tmp_path: Path) -> None:
    expected = bad_inputs(tmp_path / "in")
    for name in [*expected, "missing.png"]:
        result = misc("encode", tmp_path / "in" / name, "-o", tmp_path / "x.misc", *QUICK)
        assert result.exit_code == 1
        assert result.stdout == "" and result.stderr.rstrip().endswith(".")
        assert not list(tmp_path.glob("*x.misc*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--blocks", "9999"), "blocks"),
        (("--level", "8"), "level"),
        (("--mode", "telepathy"), "mode"),
        (("--mode", "net", "--profile", "sd21"), "misc weights"),
        (("--describe", "openai"), "MISC_LMM_API_KEY"),
        (("--describe", "nowhere.csv"), "nowhere.csv"),
        (("--reference-bpp", "0.1"), "belong together"),
        (("--max-bpp", "-1"), "--max-bpp"),
        (("--colour", "red"), "--colour"),
        (("--maps", "maybe"), "maybe"),
        (("--text", "x" * 5000), "text"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    misc: Misc, photo: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = misc("encode", photo, "-o", tmp_path / "a.misc", *words)
    assert result.exit_code == 2
    assert message in result.stderr and result.stdout == ""
    assert not (tmp_path / "a.misc").exists()


def test_calls_that_make_no_sense_exit_2(misc: Misc, photo: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "other" / "photo.png")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ((photo,), "--out"),
        ((photo, "-o", photo), "overwritten"),
        ((photo, photo, "-o", photo), "folder"),
        ((photo, tmp_path / "other" / "photo.png", "-o", tmp_path / "out"), "different folders"),
        ((tmp_path / "empty", "-o", tmp_path / "out"), "nothing to do"),
    ):
        result = misc("encode", *words)
        assert result.exit_code == 2, words
        assert message in " ".join(result.stderr.split())


def test_captions_file_describes_by_name_and_names_what_is_missing(misc: Misc, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_photo(source / "barn.png")
    write_photo(source / "tree.png")
    table = tmp_path / "captions.csv"
    table.write_text('name,prompt\nbarn.png,"barn, tractor, sky.\nA barn\nA tractor\nA sky\nAll of it."\n')
    result = misc(
        "encode", source, "-o", tmp_path / "out", "--mode", "pixel", "--blocks", "8", "--describe", table,
        "--jobs", "1", "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    barn, tree = results_of(result)
    assert barn["describer"] == "captions" and tree["error"]["code"] == "captions_invalid"
    texts = unpack((tmp_path / "out" / "barn.misc").read_bytes()).stream.texts
    assert texts.details == () and texts.overall == "All of it.", "no decoder reads details without maps"


def test_reference_beside_the_stream_takes_no_pictures_place(misc: Misc, tmp_path: Path) -> None:
    source, reference = tmp_path / "a.ref.png", tmp_path / "vvc.png"
    write_photo(source)
    write_photo(reference)
    before = source.read_bytes()
    words = ("--describe", "none", "--reference", reference, "--reference-bpp", "0.03")
    result = misc("encode", source, "-o", tmp_path / "a.misc", *words)
    assert result.exit_code == 2 and "overwritten" in result.stderr
    assert source.read_bytes() == before

    without_suffix = reference.rename(tmp_path / "vvc")
    words = ("--describe", "none", "--reference", without_suffix, "--reference-bpp", "0.03")
    told = misc("encode", source, "-o", tmp_path / "b.misc", *words)
    assert told.exit_code == 0 and "bpp declared" in told.stdout
    (entry,) = json.loads(misc("encode", source, "-o", tmp_path / "b.misc", *words, "--json").stdout)["results"]
    inspected = json.loads(misc("inspect", tmp_path / "b.misc", "--json").stdout)
    assert entry["bpp_declared"] == inspected["bpp_declared"] > 0.03 > entry["bpp_declared"] - entry["bpp"]
    assert entry["declared_bits"] == inspected["declared_bits"]
    assert misc("decode", tmp_path / "b.misc", "-o", tmp_path / "b.png", "--restorer", "smooth").exit_code == 0


def test_reference_is_copied_beside_the_stream(misc: Misc, photo: Path, tmp_path: Path) -> None:
    reference = tmp_path / "vvc.png"
    Image.new("RGB", (90, 60), (120, 130, 140)).save(reference)
    out = tmp_path / "out" / "a.misc"
    result = misc("encode", photo, "-o", out, "--describe", "none", "--reference", reference, "--reference-bpp", "0.03")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "a.ref.png").read_bytes() == reference.read_bytes()
    coarse = unpack(out.read_bytes()).stream.coarse
    assert coarse.digest == hashlib.sha256(reference.read_bytes()).digest()[:16]
    assert coarse.declared_bits == round(0.03 * 90 * 60)


def test_help_teaches_with_an_example(misc: Misc) -> None:
    for command in ((), ("encode",), ("decode",), ("inspect",)):
        result = misc(*command, "--help")
        assert result.exit_code == 0
        assert f"misc {command[0] if command else 'encode'} " in result.stdout
        assert "Example" in result.stdout
