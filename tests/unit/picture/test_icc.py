"""ICC profiles: all bits where colours are not sRGB's, and what a profile does told by what comes out of it."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from codec.picture import icc
from codec.picture.open import read_picture
from tests.cases.make import chunk, levels, linear, linear_profile, png, sixteen

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def written(samples: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, samples, photometric="rgb", iccprofile=linear_profile(), **options)  # type: ignore[arg-type]
    return out.getvalue()


def furthest(data: bytes) -> int:
    return int(np.abs(np.asarray(read_picture(data).picture).astype(int) - levels()).max())


def test_what_comes_out_of_a_profile_tells_and_not_its_name() -> None:
    assert icc.is_srgb(SRGB)
    assert not icc.is_srgb(linear_profile())
    assert not icc.is_srgb(b"sRGB" * 100)


@pytest.mark.parametrize(
    "data",
    [
        written(sixteen(linear())),
        written(sixteen(linear()).astype(">u2"), byteorder=">", compression="zlib", predictor=True),
        written(sixteen(linear()).transpose(2, 0, 1), planarconfig="separate"),
        written(np.round(linear() * (2**32 - 1)).astype(np.uint32)),
        written(linear().astype(np.float32)),
        written(
            np.dstack([sixteen(linear()), np.full((48, 64), 65535, np.uint16)]), extrasamples=["unassalpha"]
        ),
        png(sixteen(linear()), chunk(b"iCCP", b"p\0\0" + zlib.compress(linear_profile()))),
    ],
    ids=["strips", "predictor", "planar", "32 bits", "float", "alpha", "png"],
)  # fmt: skip
def test_profile_of_linear_light_is_followed_in_all_bits(data: bytes) -> None:
    assert furthest(data) <= 1


def test_without_the_bits_the_profile_is_followed_in_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icc.importlib.util, "find_spec", lambda _: None)
    assert 1 < furthest(written(sixteen(linear()))) <= 16


def test_grey_beside_transparency_has_its_profile_too() -> None:
    levels_of_grey = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
    profile = bytearray(linear_profile())
    profile[16:20] = b"GRAY"
    profile = profile.replace(b"rTRC", b"kTRC")
    image = Image.merge("LA", (Image.fromarray(levels_of_grey), Image.new("L", (64, 48), 255)))
    out = io.BytesIO()
    image.save(out, "PNG", icc_profile=bytes(profile))
    shown = np.asarray(read_picture(out.getvalue()).picture)[0, :, 0].astype(float)
    light = levels_of_grey[0] / 255
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    # The first levels of 8-bit linear light lie farther apart than colour management's table follows.
    assert np.abs(shown - expected)[2:].max() <= 2


@pytest.mark.parametrize("profile", [b"junk" * 40, SRGB[:200], linear_profile()[:300], SRGB.replace(b"RGB ", b"CMYK")])
def test_profile_that_is_broken_or_for_other_channels_changes_nothing(profile: bytes) -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, sixteen(levels() / 255), photometric="rgb", iccprofile=profile)
    assert furthest(out.getvalue()) <= 1


UNUSABLE = {
    "not compressed": b"p\0\0junk",
    "no profile": b"p\0\0" + zlib.compress(b"junk" * 60),
    "cut off": b"p\0\0" + zlib.compress(SRGB[:300]),
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
def test_profile_that_cannot_be_used_hides_no_other_colours(body: bytes) -> None:
    gamma = chunk(b"gAMA", struct.pack(">L", 100_000))
    assert furthest(png(sixteen(linear()), chunk(b"iCCP", body), gamma)) <= 1
    assert furthest(png(levels(), chunk(b"iCCP", b"p\0\0" + zlib.compress(SRGB)), gamma)) <= 1
