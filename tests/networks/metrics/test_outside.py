"""Pictures that another codec made, with a table of bytes, are one more curve of every table and plot."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.commands.eval import as_json
from cli.report.eval_page import build_page
from codec.metrics.compare import Comparison, Row, compare_picture
from codec.metrics.outside import load_outside
from codec.metrics.own import OwnCodec
from codec.metrics.plot import plot_rates
from codec.metrics.registry import Metrics, load_metrics
from codec.metrics.summary import compressai_form, summarise


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """Those that take no time."""
    return load_metrics().quick()


@pytest.fixture
def originals() -> dict[str, Image.Image]:
    rng = np.random.default_rng(3)
    pictures = {}
    for name, (width, height) in {"a.png": (90, 60), "deep/b <b>.png": (64, 48)}.items():
        waves = np.kron(rng.integers(0, 256, (height // 12 + 1, width // 10 + 1, 3)), np.ones((12, 10, 1)))
        pictures[name] = Image.fromarray(waves[:height, :width].astype(np.uint8))
    return pictures


@pytest.fixture
def vvc(tmp_path: Path, originals: dict[str, Image.Image]) -> Path:
    """What a codec of somebody else's left: pictures at two rates, and the bytes of its files."""
    folder = tmp_path / "vvc"
    lines = ["rate;source;file;bytes"]
    for rate, edge in ((2, 24), (1, 4)):
        for source, picture in originals.items():
            path = folder / f"q{rate}" / source
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((edge, edge)).resize(picture.size).save(path)
            lines.append(f"{rate};{source};q{rate}/{source};{100 * rate}")
    (folder / "bytes.csv").write_text("\n".join(lines) + "\n")
    return folder


def rows_of(folder: Path, originals: dict[str, Image.Image], metrics: Metrics) -> list[Row]:
    comparison = Comparison(OwnCodec(None, None), (), metrics, (), outside=(load_outside(folder),))
    return [row for name, picture in originals.items() for row in compare_picture(picture, name, comparison)]


def test_they_have_rows_means_curves_and_a_column(
    vvc: Path, originals: dict[str, Image.Image], metrics: Metrics, tmp_path: Path
) -> None:
    rows = rows_of(vvc, originals, metrics)
    assert [(row.source, row.codec, row.rate, row.bytes) for row in rows] == [
        ("a.png", "vvc", 1, 100), ("a.png", "vvc", 2, 200),
        ("deep/b <b>.png", "vvc", 1, 100), ("deep/b <b>.png", "vvc", 2, 200),
    ]  # fmt: skip
    assert rows[0].bpp == pytest.approx(8 * 100 / (90 * 60))
    assert as_json(rows[0])["encode_seconds"] is None and json.dumps(as_json(rows[0]))
    means = summarise(rows)
    assert [(entry["rate"], entry["images"]) for entry in means] == [(1, 2), (2, 2)]
    assert means[1]["metrics"]["psnr-rgb"] > means[0]["metrics"]["psnr-rgb"]
    results = compressai_form("vvc", means, "as given")["results"]
    assert results["bpp"] == [entry["bpp"] for entry in means] and "encoding_time" not in results
    plot_rates(tmp_path / "curves.svg", means, metrics.is_distance, "two pictures")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    pictures = {("a.png", name): vvc / "q2" / "a.png" for name in ("original", "misc", "vvc")}
    page = build_page(rows, means, pictures, 2, metrics.is_distance, ["vvc"])
    assert "vvc, as given" in page and "its best within" not in page


def test_pictures_that_do_not_fit_are_errors_of_their_rows(
    vvc: Path, originals: dict[str, Image.Image], metrics: Metrics
) -> None:
    Image.new("RGB", (10, 10)).save(vvc / "q1" / "a.png")
    (vvc / "q2" / "a.png").unlink()
    rows = rows_of(vvc, originals | {"c.png": Image.new("RGB", (20, 20))}, metrics)
    errors = [str(row.error) for row in rows if row.error is not None]
    assert "10x10 and not 90x60" in errors[0] and "no picture of c.png" in errors[2] and len(errors) == 3
    assert {row.source for row in rows if row.error is None} == {"deep/b <b>.png"}


def test_files_are_named_like_originals_but_for_their_suffix(tmp_path: Path) -> None:
    folder = tmp_path / "hific"
    folder.mkdir()
    (folder / "table.csv").write_text("\ufefffile,bytes\nx/a.webp,7\n", encoding="utf-8")
    (file,) = load_outside(folder).files_of("x/a.png")
    assert (file.path, file.bytes, file.rate) == (folder / "x/a.webp", 7, 1)
