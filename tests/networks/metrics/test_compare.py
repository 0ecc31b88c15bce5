"""Rows of one picture, their means, CompressAI's form and the plot."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from codec.decode.restorers import Restorers
from codec.errors import OptionError, WeightsError
from codec.metrics.compare import OURS, OURS_COARSE, Comparison, Row, compare_picture
from codec.metrics.own import OwnCodec, settings_of, without_text
from codec.metrics.plot import plot_rates
from codec.metrics.registry import load_metrics
from codec.metrics.summary import compressai_form, summarise
from codec.options import EncodeOptions, Mode, Profile, RestorerName
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore


def picture() -> Image.Image:
    """A sky, a ground, a round thing."""
    y, x = np.mgrid[0:120, 0:168]
    values = np.stack([x, 255 - y, np.where(y > 70, 40, 220)], axis=-1)
    values[(x - 60) ** 2 + (y - 60) ** 2 < 900] = (220, 60, 30)
    return Image.fromarray(values.astype(np.uint8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    return WeightsStore(tmp_path_factory.mktemp("weights"), ())


@pytest.fixture(scope="module")
def comparison(store: WeightsStore) -> Comparison:
    settings = settings_of(store, profile=Profile.LITE, mode=Mode.PIXEL, restorer=RestorerName.SMOOTH)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MISC_SQZ_WEIGHTS", raising=False)
        return Comparison(OwnCodec(store, Restorers(store)), settings, load_metrics(), ("jpeg",))


@pytest.fixture(scope="module")
def rows(comparison: Comparison) -> list[Row]:
    return compare_picture(picture(), "a.png", comparison)


def test_every_rate_has_ours_its_coarse_picture_and_the_peer(rows: list[Row]) -> None:
    assert [(row.codec, row.rate) for row in rows] == [
        (codec, rate) for rate in (1, 2, 3) for codec in (OURS, OURS_COARSE, "jpeg")
    ]
    assert all(row.error is None for row in rows)


def test_bits_are_those_of_whole_files_and_the_peer_is_held_to_ours(rows: list[Row]) -> None:
    for ours, coarse, peer in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert ours.bytes is not None and peer.bytes is not None
        assert ours.bpp == pytest.approx(8 * ours.bytes / (168 * 120))
        assert sum(ours.details["bits"].values()) == 8 * ours.bytes
        assert coarse.bytes == ours.bytes
        assert peer.details["limit_bytes"] == ours.bytes
        assert peer.details["over_budget"] == (peer.bytes > ours.bytes)


def test_higher_rates_cost_more_and_are_closer(rows: list[Row]) -> None:
    ours = [row for row in rows if row.codec == OURS]
    assert [row.bytes for row in ours] == sorted(row.bytes or 0 for row in ours)
    assert [row.metrics["psnr-rgb"] for row in ours] == sorted(row.metrics["psnr-rgb"] or 0 for row in ours)


def test_means_leave_failed_rows_out_and_count_what_is_undefined(rows: list[Row]) -> None:
    failed = Row("b.png", OURS, 1, error=ValueError("no"))
    (ours,) = [entry for entry in summarise([*rows, failed]) if (entry["codec"], entry["rate"]) == (OURS, 1)]
    assert (ours["images"], ours["bpp"]) == (1, rows[0].bpp)
    # 120 pixels are too few for five scales.
    assert ours["metrics"]["ms-ssim-rgb"] is None
    assert ours["undefined"] == {"ms-ssim-rgb": 1}


def test_compressai_form_has_lists_of_one_length_in_the_order_of_bpp(rows: list[Row]) -> None:
    form = compressai_form(OURS, summarise(rows), "words")
    assert (form["name"], form["description"]) == (OURS, "words")
    results = form["results"]
    assert {"bpp", "psnr-rgb", "encoding_time", "decoding_time"} <= set(results)
    assert "ms-ssim-rgb" not in results
    assert {len(values) for values in results.values()} == {3}
    assert results["bpp"] == sorted(results["bpp"])
    json.dumps(form, allow_nan=False)


def test_plot_is_a_picture_and_other_names_are_refused(rows: list[Row], comparison: Comparison, tmp_path: Path) -> None:
    summary = summarise(rows)
    plot_rates(tmp_path / "curves.png", summary, comparison.metrics.is_distance, "one picture")
    with Image.open(tmp_path / "curves.png") as drawn:
        assert min(drawn.size) > 300
    with pytest.raises(OptionError, match="png"):
        plot_rates(tmp_path / "curves.doc", summary, comparison.metrics.is_distance, "one picture")


def test_a_file_without_text_has_no_bits_for_it(comparison: Comparison) -> None:
    setting = comparison.settings[0]
    options = without_text(setting.encode)
    assert (options.blocks, options.mode) == (setting.encode.blocks, setting.encode.mode)
    encoded = comparison.own.encode(picture(), type(setting)(1, options, setting.decode))
    assert (encoded.bits.text, encoded.bits.maps) == (0, 0)


def test_mode_is_the_profiles_own_and_net_is_taken_only_where_its_networks_are(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path, ())
    for profile in Profile:
        assert settings_of(store, profile=profile)[0].encode.mode is EncodeOptions(profile=profile).mode
    assert [setting.encode.max_bpp for setting in settings_of(store, profile=Profile.LITE)] == [0.02, 0.03, 0.05]
    for profile in Profile:
        with pytest.raises(WeightsError):
            settings_of(store, profile=profile, mode=Mode.NET)
    kept = WeightsStore(tmp_path)
    for entry in kept.released.values():
        if entry.part is Part.COARSE and Profile.LITE in entry.profiles:
            (source,) = entry.sources
            kept.add(Path(source.address("")), name=entry.name)
    assert [each.encode.rate for each in settings_of(kept, profile=Profile.LITE, mode=Mode.NET)] == [1, 2, 3]
