"""The reference mode keeps its budget, chooses sensibly, and says what it cannot do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from codec.bitstream.coarse.reference import CODECS, encode_reference
from codec.encode.coarse.ref import ReferenceSearch, most_bits
from codec.encode.coarse.score import luma_for_score, structural_score
from codec.errors import BudgetUnreachable, Cancelled
from codec.picture.avif import AVIFSetting, write_avif


def photo(width: int = 320, height: int = 240) -> Image.Image:
    """Shapes with edges over soft ground, with grain: compresses much as a photo does."""
    y, x = np.mgrid[0:height, 0:width]
    base = 110 + 50 * np.sin(x / 31) + 40 * np.cos(y / 17)
    base[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] = 210
    base[height // 2 :, : width // 3] -= 60
    grain = np.random.default_rng(3).normal(0, 5, (height, width, 3))
    tint = np.array([1.0, 0.9, 0.75])
    return Image.fromarray(np.clip(base[..., None] * tint + grain, 0, 255).astype(np.uint8))


def need(codec: str) -> None:
    if codec == "jxl":
        pytest.importorskip("pillow_jxl")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("max_bpp", [0.12, 0.6])
def test_whole_file_keeps_the_budget_and_uses_it(codec: str, max_bpp: float) -> None:
    need(codec)
    picture = photo()
    budget = int(max_bpp * 320 * 240 / 8)
    choice = ReferenceSearch(picture, codec).choose(max_bpp, 100)
    assert choice.fits
    assert choice.payload_bytes == len(encode_reference(choice.coarse, 320, 240))
    assert 0.7 * (budget - 100) <= choice.payload_bytes <= budget - 100


def test_more_bits_look_better_and_want_a_finer_scale() -> None:
    choices = [ReferenceSearch(photo(), "webp").choose(bpp, 0) for bpp in (0.06, 0.3, 1.5)]
    scores = [choice.score for choice in choices]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert choices[0].coarse.scale > choices[-1].coarse.scale


@pytest.mark.parametrize(("size", "file_bytes"), [((400, 200), 113), ((400, 200), 186), ((768, 512), 2457)])
def test_budget_holds_what_the_figure_says(size: tuple[int, int], file_bytes: int) -> None:
    pixels = size[0] * size[1]
    rounded_up = -(-file_bytes * 8 * 10_000 // pixels) / 10_000
    assert most_bits(rounded_up, pixels) >= 8 * file_bytes
    assert most_bits(rounded_up - 0.0001, pixels) < 8 * file_bytes


def test_unreachable_budget_names_the_figure_that_is_reached() -> None:
    picture = photo()
    with pytest.raises(BudgetUnreachable, match=r"0\.001 bpp.* reaches is 0\.\d{4} bpp") as caught:
        ReferenceSearch(picture, "jpeg").choose(0.001, 50)
    named = float(str(caught.value).split("reaches is ")[1].split(" ")[0])
    choice = ReferenceSearch(picture, "jpeg").choose(named, 50)
    assert (choice.payload_bytes + 50) * 8 <= named * 320 * 240
    with pytest.raises(BudgetUnreachable):
        ReferenceSearch(picture, "jpeg").choose(named - 0.0005, 50)


def test_default_budget_takes_the_smallest_where_it_cannot_be_met() -> None:
    choice = ReferenceSearch(photo(64, 48), "webp").choose(None, 30)
    assert not choice.fits
    assert (choice.coarse.scale, choice.quality) == (4, 0)


@pytest.mark.parametrize("codec", CODECS)
def test_smallest_and_narrowest_pictures_encode(codec: str) -> None:
    need(codec)
    for size in ((1, 1), (1, 40), (37, 3)):
        choice = ReferenceSearch(photo(*size), codec).choose(None, 0)
        assert choice.payload_bytes > 1


def test_search_stops_when_told_to() -> None:
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        ReferenceSearch(photo(), "webp", stop).choose(0.3, 0)
    assert len(calls) == 3


def test_score_is_one_for_equal_pictures_and_falls_with_damage() -> None:
    original = luma_for_score(photo())
    blurred = [luma_for_score(photo().reduce(k).resize((320, 240))) for k in (2, 4, 8)]
    scores = [structural_score(original, other) for other in (original, *blurred)]
    assert scores[0] == pytest.approx(1.0, abs=1e-4)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.98


def test_score_compares_large_pictures_at_a_reduced_size() -> None:
    assert luma_for_score(Image.new("RGB", (4000, 3000))).size <= 2_000_000
    assert structural_score(luma_for_score(Image.new("RGB", (1, 1))), luma_for_score(Image.new("RGB", (1, 1)))) == 1.0


def test_avif_levels_are_all_there_whatever_the_tune() -> None:
    for tune in (None, "ssim"):
        sizes = [len(write_avif(photo(96, 64), AVIFSetting(quality, 8, tune))) for quality in (0, 10, 20, 40, 63)]
        assert sizes == sorted(sizes) and len(set(sizes)) == 5


def test_finer_scale_has_to_look_better_by_a_margin() -> None:
    # Soft ground is as good at a quarter of the size; fine stripes are not there any more.
    soft = photo().reduce(8).resize((320, 240), Image.Resampling.BICUBIC)
    assert ReferenceSearch(soft, "avif").choose(0.02, 0).coarse.scale == 4
    stripes = np.asarray(soft).astype(np.int16)
    stripes[:, ::6] -= 60
    stripes[:, 1::6] -= 60
    striped = Image.fromarray(np.clip(stripes, 0, 255).astype(np.uint8))
    assert ReferenceSearch(striped, "avif").choose(0.3, 0).coarse.scale < 4


def test_avif_uses_the_bytes_in_few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[AVIFSetting] = []

    def counted(picture: Image.Image, setting: AVIFSetting) -> bytes:
        written.append(setting)
        return write_avif(picture, setting)

    monkeypatch.setattr("codec.encode.coarse.avif_search.write_avif", counted)
    choice = ReferenceSearch(photo(), "avif").choose(0.15, 100)
    assert choice.payload_bytes >= 0.93 * (1440 - 100)
    assert len(written) <= 25


def test_files_of_one_picture_written_side_by_side_are_those_written_one_by_one() -> None:
    picture = photo(96, 64)
    settings = [AVIFSetting(quality, 8, tune) for quality in (10, 20, 30, 40) for tune in (None, "ssim")]
    alone = [write_avif(picture, setting) for setting in settings]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda setting: write_avif(picture, setting), settings)) == alone
    assert len(set(alone)) == len(settings)


def test_second_choice_needs_few_trials_and_is_what_a_fresh_search_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[AVIFSetting] = []

    def counted(picture: Image.Image, setting: AVIFSetting) -> bytes:
        written.append(setting)
        return write_avif(picture, setting)

    monkeypatch.setattr("codec.encode.coarse.avif_search.write_avif", counted)
    search = ReferenceSearch(photo(), "avif")
    search.choose(0.15, 60)
    first = len(written)
    choice = search.choose(0.15, 90)
    assert len(written) - first < first / 2
    assert choice.payload_bytes <= 1440 - 90
    assert choice.coarse == ReferenceSearch(photo(), "avif").choose(0.15, 90).coarse
