"""The files of tests/cases, each of which stands for a kind of fault: the picture, its note, or its refusal."""

from pathlib import Path

import numpy as np
import pytest

from codec.errors import PictureUnsupported
from codec.picture import deep, jxl
from codec.picture.colour import ColourSignal
from codec.picture.open import check_picture, open_picture, read_picture
from tests.cases.make import levels, shown

CASES = Path(__file__).parents[2] / "cases"


def grey() -> np.ndarray:
    return np.repeat(np.round(shown().mean(axis=-1, keepdims=True) * 255), 3, axis=-1)


COLOUR = "converted to sRGB"
FURTHER = "the others were left out"


@pytest.mark.parametrize(
    ("name", "tolerance", "note"),
    [
        ("grey16_minwhite.tif", 1, None),
        ("rgb16_planar.tif", 1, None),
        ("rgb_float32.tif", 1, None),
        ("rgb_uint32.tif", 1, None),
        ("three_pages.tif", 0, "3 pages"),
        ("bmp32_alpha_zero.bmp", 0, "unused channel"),
        ("bmp_v4_linear.bmp", 6, "gamma 1.00"),  # 8 bits of linear light are coarse in the dark
        ("png_cicp_p3.png", 2, "Display P3"),
        ("png_cicp_pq.png", 2, "PQ, BT.2020"),
        ("png_cicp_hlg.png", 2, "HLG, BT.2020"),
        ("png_chrm_p3.png", 3, COLOUR),
        ("png_gama_linear.png", 1, "gamma 1.00"),
        ("png_text_1500kb.png", 0, None),
        ("png_text_bad_checksum.png", 0, None),
        ("png_profile_1500kb.png", 1, None),
        ("avif_p3_nclx.avif", 6, "Display P3"),
        ("jpeg_adobe_rgb_exif.jpg", 6, COLOUR),
        ("heic_10bit_pq.heic", 8, "PQ, BT.2020"),
        ("heic_pq_without_colr.heic", 8, "PQ, BT.2020"),
        ("avif_p3_without_colr.avif", 6, "Display P3"),
        ("rgb16_linear_profile.tif", 1, None),
        ("avif_12bit_pq.avif", 3, "PQ, BT.2020"),
        ("avif_12bit_hlg.avif", 3, "HLG, BT.2020"),
        ("avif_10bit_p3.avif", 3, "Display P3"),
        ("jxl_16bit_pq.jxl", 1, "PQ, BT.2020"),
        ("jxl_16bit_hlg.jxl", 1, "HLG, BT.2020"),
        ("jxl_16bit_p3.jxl", 1, "Display P3"),
        ("png_16bit_bt2020.png", 1, "BT.2020"),
        ("jxl_16bit_linear.jxl", 1, "linear"),
        ("png_profile_pq.png", 2, "PQ, BT.2020"),
        ("frames.gif", 30, FURTHER),
        ("frames.png", 0, FURTHER),
        ("frames.webp", 0, FURTHER),
        ("frames.avif", 8, FURTHER),
        ("picture.jp2", 0, None),
        ("picture.ppm", 1, None),
        ("composite.psd", 0, None),
    ],
)
def test_a_case_opens_to_what_it_shows_and_says_what_was_done(name: str, tolerance: int, note: str | None) -> None:
    result = read_picture(CASES / name)
    expected = grey() if name.startswith("grey") else levels()
    difference = np.abs(np.asarray(result.picture).astype(int) - expected)
    # Few levels near black are far apart in other primaries, and codecs blur the rectangle's edge.
    assert np.percentile(difference, 98 if note else 100) <= tolerance
    assert result.notes == () if note is None else note in " ".join(result.notes)
    assert check_picture(CASES / name).width == 64


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("grey_int16_negative.tif", "negative samples"),
        ("rgb_jpeg2000.tif", "JPEG 2000"),
        ("jpeg_12bit.jpg", "12 bits"),
        ("jxl_float.jxl", "floating point"),
        ("jxl_frames.jxl", "animation"),
    ],
)
def test_a_case_that_is_not_read_is_unsupported_and_not_damaged(name: str, what: str) -> None:
    for read in (open_picture, check_picture):
        with pytest.raises(PictureUnsupported, match=what) as caught:
            read(CASES / name)
        assert "PNG" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["avif_12bit_pq.avif", "avif_10bit_p3.avif", "jxl_16bit_hlg.jxl", "jxl_16bit_linear.jxl"]
)
def test_colours_that_need_more_than_the_reader_has_are_unsupported_without_another(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(deep.importlib.util, "find_spec", lambda _: None)
    for read in (open_picture, check_picture):
        with pytest.raises(PictureUnsupported, match=r"1[026] bits .*imagecodecs"):
            read(CASES / name)


def test_header_of_jpeg_xl_is_read_whatever_comes_before_the_colours() -> None:
    read = {path.name: jxl.header(path.open("rb")) for path in CASES.glob("*.jxl")}
    found = {name: (each.bits, each.is_float, each.is_animated) for name, each in read.items() if each is not None}
    assert found == {
        "jxl_16bit_pq.jxl": (16, False, False),
        "jxl_16bit_hlg.jxl": (16, False, False),
        "jxl_16bit_p3.jxl": (16, False, False),
        "jxl_16bit_linear.jxl": (16, False, False),
        "jxl_float.jxl": (32, True, False),
        "jxl_frames.jxl": (8, False, True),
    }
    signals = {name: each.signal for name, each in read.items() if each is not None}
    assert signals["jxl_16bit_p3.jxl"] == ColourSignal(12, 13)
    assert signals["jxl_16bit_hlg.jxl"] == ColourSignal(9, 18)
    assert signals["jxl_frames.jxl"] is None or signals["jxl_frames.jxl"].is_srgb


def test_grey_of_16_bits_keeps_its_transparent_value() -> None:
    opened = np.asarray(open_picture(CASES / "png_grey16_key.png"))
    assert (opened[:12] == 255).all()
    assert np.abs(opened[12:].astype(int) - grey()[12:]).max() <= 1


def test_transparency_that_leaves_one_colour_is_noted() -> None:
    result = read_picture(CASES / "png_all_transparent.png")
    assert result.picture.getextrema() == ((255, 255),) * 3
    assert "single colour" in result.notes[0]


def test_brightness_above_white_is_darkened_without_a_change_of_hue_or_order() -> None:
    from codec.picture.colour import REFERENCE_WHITE, ColourSignal, to_srgb
    from tests.cases.make import pq, sixteen

    ramp = np.linspace(0, 10, 200)[None, :, None] * np.array([1.0, 0.5, 0.25])
    picture, note = to_srgb(sixteen(pq(ramp * REFERENCE_WHITE)), ColourSignal(primaries=1, transfer=16))
    red, green, blue = (np.asarray(picture)[0, :, channel].astype(int) for channel in range(3))
    assert (np.diff(red) >= 0).all() and red[-1] == 255 and red[10] < 200
    assert (green <= red).all() and (blue <= green).all() and abs(green[-1] - 188) <= 1
    assert "203 cd/m2" in note


def test_every_case_has_its_row_in_the_readme() -> None:
    text = (CASES / "README.md").read_text()
    names = {path.name for path in CASES.iterdir() if path.suffix not in (".py", ".md") and path.is_file()}
    assert {name for name in names if name not in text.replace(",", " ").split()} == set()
