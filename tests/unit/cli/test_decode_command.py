"""`misc decode` without networks: pictures of the right size, the same each time, that say what made them."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from codec.picture.mark import read_mark
from tests.certificates import archive_under, authority, written
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
QUICK = ("--mode", "pixel", "--describe", "none", "--blocks", "8")
SMOOTH = ("--restorer", "smooth")


@pytest.fixture
def stream(misc: Misc, photo: Path, tmp_path: Path) -> Path:
    path = tmp_path / "photo.misc"
    assert misc("encode", photo, "-o", path, *QUICK).exit_code == 0
    return path


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".jpg"])
def test_picture_has_the_originals_size_and_says_what_made_it(
    misc: Misc, stream: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"back{suffix}"
    result = misc("decode", stream, "-o", out, *SMOOTH, "--json")
    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["results"]
    assert (entry["width"], entry["height"], entry["schedule"], entry["error"]) == (90, 60, "fast", None)
    assert entry["input"] == str(stream) and entry["output"] == str(out)
    assert set(entry["seconds"]) == {"coarse", "restore", "total"} and entry["seed"] >= 0
    data = out.read_bytes()
    assert Image.open(io.BytesIO(data)).size == (90, 60)
    assert b"algorithmicallyEnhanced" in data and b'misc:Restorer="smooth"' in data
    assert misc("decode", stream, "-o", out, *SMOOTH).exit_code == 0
    assert out.read_bytes() == data


def test_folder_of_streams_becomes_a_folder_of_pictures_once(misc: Misc, stream: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.misc", "deep/b.misc"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(stream.read_bytes())
    call = ("decode", source, "-o", out, "--format", "webp", *SMOOTH, "--jobs", "1", "--json")
    first = json.loads(misc(*call).stdout)["results"]
    assert [entry["skipped"] for entry in first] == [False, False]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.webp", "deep/b.webp"]
    (out / "a.webp").write_bytes((out / "a.webp").read_bytes()[:-60])
    again = json.loads(misc(*call).stdout)["results"]
    assert [entry["skipped"] for entry in again] == [False, True]
    reseeded = json.loads(misc(*call, "--seed", "9").stdout)["results"]
    assert [(entry["skipped"], entry["seed"]) for entry in reseeded] == [(False, 9)] * 2


def test_bad_streams_are_named_and_do_not_stop_the_rest(misc: Misc, stream: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    data = stream.read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    for name, content in {"empty": b"", "text": b"hello there, no stream", "cut": data[:-3], "bad": damaged}.items():
        (source / f"{name}.misc").write_bytes(content)
    (source / "good.misc").write_bytes(data)
    result = misc("decode", source, "-o", tmp_path / "out", *SMOOTH, "--jobs", "1", "--json")
    assert result.exit_code == 1
    codes = {Path(e["input"]).stem: e["error"] and e["error"]["code"] for e in json.loads(result.stdout)["results"]}
    assert codes.pop("good") is None
    assert all(code.startswith("stream_") for code in codes.values()) and len(codes) == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "x.tga"), ".tga"),
        (("-o", "x"), "suffix"),
        (("-o", "x.png", "--restorer", "magic"), "smooth"),
        (("-o", "x.png", "--restorer", "No Such"), "restorer"),
        (("-o", "x.png", "--schedule", "slow"), "schedule"),
        (("-o", "x.png", "--steps", "0"), "steps"),
        (("-o", "x.png", "--seed", "-1"), "seed"),
        (("-o", "folder/", "--format", "bmp"), "--format"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(
    misc: Misc, stream: Path, words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = misc("decode", stream, *words)
    assert result.exit_code == 2
    assert message in result.stderr and result.stdout == ""


def test_external_reference_is_found_beside_the_stream_or_by_option(misc: Misc, photo: Path, tmp_path: Path) -> None:
    reference = tmp_path / "codec.png"
    Image.new("RGB", (90, 60), (120, 130, 140)).save(reference)
    out = tmp_path / "a.misc"
    assert misc(
        "encode", photo, "-o", out, "--describe", "none", "--reference", reference, "--reference-bpp", "0.02"
    ).exit_code == 0  # fmt: skip
    assert misc("decode", out, "-o", tmp_path / "a.png", *SMOOTH).exit_code == 0
    beside = tmp_path / "a.ref.png"
    beside.unlink()
    missing = misc("decode", out, "-o", tmp_path / "b.png", *SMOOTH, "--json")
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["results"][0]["error"]["code"] == "reference_missing"
    assert misc("decode", out, "-o", tmp_path / "b.png", *SMOOTH, "--reference", reference).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    wrong = misc("decode", out, "-o", tmp_path / "c.png", *SMOOTH, "--reference", photo)
    assert wrong.exit_code == 1 and "another file" in wrong.stderr


def test_real_photo_round_trips_through_the_command(misc: Misc, tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    original = tmp_path / "astronaut.png"
    Image.fromarray(data.astronaut()).save(original)
    words = ("--mode", "pixel", "--describe", "none")
    assert misc("encode", original, "-o", tmp_path / "a.misc", *words).exit_code == 0
    assert misc("decode", tmp_path / "a.misc", "-o", tmp_path / "a.png", *SMOOTH).exit_code == 0
    assert Image.open(tmp_path / "a.png").size == (512, 512)
    assert (tmp_path / "a.misc").stat().st_size < 1500


def test_very_flat_pictures_decode(misc: Misc, tmp_path: Path) -> None:
    write_photo(tmp_path / "flat.png", 400, 1)
    assert misc("encode", tmp_path / "flat.png", "-o", tmp_path / "f.misc", *QUICK).exit_code == 0
    assert misc("decode", tmp_path / "f.misc", "-o", tmp_path / "f.png", *SMOOTH).exit_code == 0
    assert Image.open(tmp_path / "f.png").size == (400, 1)


def test_coarse_picture_is_written_as_the_stream_has_it(misc: Misc, stream: Path, tmp_path: Path) -> None:
    names = ("--stage", "coarse", "--stage", "final")
    result = misc("decode", stream, "-o", tmp_path / "back.png", *SMOOTH, *names, "--jobs", "1", "--json")
    assert result.exit_code == 0, result.stderr
    coarse, final = json.loads(result.stdout)["results"]
    assert (coarse["output"], coarse["stage"], coarse["restorer"]) == (
        str(tmp_path / "back.coarse.png"),
        "coarse",
        "none",
    )
    assert (final["output"], final["stage"], final["restorer"]) == (str(tmp_path / "back.png"), "final", "smooth")
    from codec.bitstream import unpack
    from codec.decode.coarse import rebuild_coarse

    expected = rebuild_coarse(unpack(stream.read_bytes()).stream)
    with Image.open(coarse["output"]) as picture:
        assert picture.tobytes() == expected.tobytes()
    out = tmp_path / "out"
    call = ("decode", stream, "-o", f"{out}/", *SMOOTH, *names, "--jobs", "1", "--json")
    assert [entry["skipped"] for entry in json.loads(misc(*call).stdout)["results"]] == [False, False]
    assert [entry["skipped"] for entry in json.loads(misc(*call).stdout)["results"]] == [True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--samples", "2"), "the restorer smooth has none; add --restorer diffusion"),
        (("--stage", "clean"), "one of the restorer diffusion"),
        (("--stage", "middle"), "--stage"),
        (("--stage", "coarse", "--stage", "final", "-o", "-"), "need a file or a folder"),
    ],
)
def test_samples_and_stages_that_cannot_be_are_refused(
    misc: Misc, stream: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = misc("decode", stream, "-o", tmp_path / "x.png", *SMOOTH, *words)
    assert result.exit_code == 2 and message in result.stderr


def test_pictures_are_signed_where_a_certificate_is_configured(
    misc: Misc, stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.misc").write_bytes(stream.read_bytes())
    call = ("decode", source, "-o", out, *SMOOTH, "--jobs", "1", "--json")
    assert misc(*call).exit_code == 0
    assert read_mark(out / "a.png")["signature"] is None
    above = authority()
    certificate, key = written(tmp_path, archive_under(above), above)
    monkeypatch.setenv("MISC_MARK_CERTIFICATE", str(certificate))
    one_alone = misc(*call)
    assert one_alone.exit_code == 2 and "belong together" in one_alone.stderr
    monkeypatch.setenv("MISC_MARK_KEY", str(key))
    # What was decoded before is decoded again, to be signed; then it is done.
    for is_skipped in (False, True):
        (entry,) = json.loads(misc(*call).stdout)["results"]
        assert entry["skipped"] is is_skipped
        mark = read_mark(out / "a.png")
        assert (mark["signature"]["state"], mark["signature"]["signer"]) == ("valid", "archive.example")
        assert mark["digital_source_type"].endswith("/algorithmicallyEnhanced")
    key.write_bytes(archive_under(above).key_pem())
    monkeypatch.setenv("MISC_MARK_KEY", str(key.rename(tmp_path / "other.pem")))
    refused = misc(*call)
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
    assert "MISC_MARK_CERTIFICATE: The certificate and key cannot sign" in refused.stderr
