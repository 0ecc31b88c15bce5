"""`misc eval` over small folders: its document, its files, its exit statuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

pytest.importorskip("torch")

from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MISC_SQZ_WEIGHTS", raising=False)
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "weights"))
    folder = tmp_path / "photos"
    write_photo(folder / "a.png")
    write_photo(folder / "deep" / "b <b>.png", 64, 48)
    return folder


def test_document_has_images_and_means(misc: Misc, photos: Path) -> None:
    result = misc("eval", photos, "--mode", "pixel", "--restorer", "smooth", "--peers", "webp", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert {image["source"] for image in document["images"]} == {"a.png", "deep/b <b>.png"}
    assert len(document["images"]) == 2 * 3 * 3
    for image in document["images"]:
        assert {"source", "codec", "rate", "bpp", "bytes", "metrics", "encode_seconds", "decode_seconds"} <= set(image)
        width, height = (90, 60) if image["source"] == "a.png" else (64, 48)
        assert image["bpp"] == pytest.approx(8 * image["bytes"] / (width * height))
        assert image["error"] is None
    keys = {(entry["codec"], entry["rate"]) for entry in document["summary"]}
    assert keys == {(codec, rate) for codec in ("misc", "misc-coarse", "webp") for rate in (1, 2, 3)}
    assert all(entry["images"] == 2 and entry["metrics"]["haarpsi"] is not None for entry in document["summary"])
    assert "sqz-dist" in document["left_out"]
    assert "sqz-dist is left out" in result.stderr


def test_page_plot_and_compressai_files(misc: Misc, photos: Path, tmp_path: Path) -> None:
    page, plot, form = tmp_path / "out" / "page.html", tmp_path / "plots" / "curves.svg", tmp_path / "misc.json"
    words = ("--mode", "pixel", "--restorer", "smooth", "--peers", "jpeg")
    result = misc("eval", photos, *words, "--page", page, "--plot", plot, "--compressai", form)
    assert result.exit_code == 0, result.stderr
    html = page.read_text()
    # Two pictures in four forms each: the original, the coarse one, the restored one, the peer's.
    assert html.count("data:image/jpeg;base64,") == 8
    assert "deep/b &lt;b&gt;.png" in html and "<b>.png" not in html
    assert 'src="http' not in html and "<link" not in html
    assert "<svg" in plot.read_text()
    assert json.loads(form.read_text())["name"] == "misc"
    assert json.loads((tmp_path / "misc-jpeg.json").read_text())["name"] == "jpeg"
    assert "haarpsi" in result.stdout and "jpeg" in result.stdout


def test_figures_are_told_though_a_file_cannot_be_written(misc: Misc, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    words = ("--mode", "pixel", "--restorer", "smooth", "--peers", "none")
    result = misc("eval", photos, *words, "--plot", tmp_path / "taken" / "curves.svg")
    assert result.exit_code == 2
    assert "haarpsi" in result.stdout
    assert "taken" in result.stderr and "Traceback" not in result.stderr


def test_bad_picture_is_named_and_the_others_are_compared(misc: Misc, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    result = misc("eval", photos, "--mode", "pixel", "--peers", "none", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    (failed,) = [image for image in document["images"] if image["error"] is not None]
    assert (failed["source"], failed["error"]["code"]) == ("bad.png", "picture_unrecognised")
    assert "bad.png" in result.stderr
    assert {entry["images"] for entry in document["summary"]} == {2}


def test_budget_that_cannot_be_met_is_an_error_of_its_picture(misc: Misc, photos: Path) -> None:
    # No AVIF of 90x60 pixels has the 13 bytes that 0.02 bpp leave.
    result = misc("eval", photos, "--mode", "ref", "--restorer", "smooth", "--peers", "none", "--json")
    assert result.exit_code == 1
    errors = {image["error"]["code"] for image in json.loads(result.stdout)["images"]}
    assert errors == {"budget_unreachable"}


def test_single_pixel_is_compared(misc: Misc, photos: Path) -> None:
    write_photo(photos / "one.png", 1, 1)
    result = misc("eval", photos / "one.png", "--mode", "pixel", "--restorer", "smooth", "--json")
    assert result.exit_code == 0, result.stderr
    assert all("ms-ssim-rgb" in image["undefined"] for image in json.loads(result.stdout)["images"])


def test_descriptions_made_elsewhere_are_used(misc: Misc, photos: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps([{"file": name, "items": [], "overall": "x"} for name in ("a.png", "b <b>.png")]))
    result = misc("eval", photos, "--mode", "pixel", "--peers", "none", "--describe", captions, "--json")
    assert result.exit_code == 0, result.stderr
    assert {image["describer"] for image in json.loads(result.stdout)["images"]} == {"captions"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--peers", "gif"), "--peers"),
        (("--peers", ","), "--peers"),
        (("--mode", "huge"), "--mode"),
        (("--restorer", "nobody"), "--restorer"),
        (("--describe", "nothing.csv"), "--describe"),
        (("--describe", "openai"), "asks no model"),
        (("--maps", "perhaps"), "--maps"),
        (("--plot", "curves.doc"), ".svg"),
        (("--mode", "net", "--profile", "sd21"), "misc weights"),
    ],
)
def test_wrong_usage(misc: Misc, photos: Path, words: tuple[str, ...], sentence: str) -> None:
    result = misc("eval", photos, *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_folder_without_pictures_is_wrong_usage(misc: Misc, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert misc("eval", folder).exit_code == 2


WORDS = ("--mode", "pixel", "--restorer", "smooth", "--peers", "none")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "one CSV file"),
        ("name,size\na.png,1\n", "columns file and bytes"),
        ("file,bytes\na.png,many\n", "line 2: bytes must be a whole number"),
        ("file,bytes\na.png,0\n", "line 2: bytes must be a whole number"),
        ("file,bytes\na.png,5\na.webp,6\n", "twice at one rate"),
        ("file,bytes,rate\na.png,5,x\n", "line 2: rate must be"),
    ],
)
def test_tables_that_say_nothing_are_refused(
    misc: Misc, photos: Path, tmp_path: Path, table: str | None, message: str
) -> None:
    folder = tmp_path / "hific"
    folder.mkdir()
    if table is not None:
        (folder / "bytes.csv").write_text(table)
    result = misc("eval", photos, *WORDS, "--outside", folder)
    assert result.exit_code == 2 and message in result.stderr, result.stderr


def test_outside_folder_called_like_a_codec_that_takes_part_is_refused(
    misc: Misc, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "misc"
    folder.mkdir()
    (folder / "bytes.csv").write_text("file,bytes\na.png,5\n")
    result = misc("eval", photos, *WORDS, "--outside", folder)
    assert result.exit_code == 2 and "takes part already" in result.stderr
