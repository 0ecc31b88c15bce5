"""Pictures that are decoded at once: at which rates they are encoded again, and what is told of it."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from codec.bitstream import Bits
from codec.encode.coarse.external import Reference
from codec.encode.pipeline import Encoded, encode
from codec.errors import OptionError, WeightsMissing
from codec.metrics.ingest import Quality, encode_verified
from codec.options import EncodeOptions, Mode, parse_options
from codec.quality import Minimum

PICTURE = Image.new("RGB", (64, 64), "teal")
ONE = encode(PICTURE, EncodeOptions(mode=Mode.PIXEL, describe="none", blocks=4))
REF = {"mode": "ref", "describe": "none"}


def by_bpp(figure_of: Callable[[float], float]) -> Callable[[Encoded], Quality]:
    return lambda encoded: Quality({"ms-ssim-rgb": figure_of(encoded.bpp)}, restorer="stub", seconds=1.0)


def encode_picture(options: EncodeOptions) -> Encoded:
    """A stream that takes all of its budget, whatever is in it."""
    assert options.max_bpp is not None
    return replace(ONE, bits=Bits(0, 0, 0, int(options.max_bpp * 64 * 64)))


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [("psnr-rgb=30", 30.0, 29.9), ("ms-ssim-rgb=0.8", 0.9, 0.79), ("lpips-alex=0.3", 0.3, 0.31), ("sqz-dist=.4", 0, 1)],
)
def test_distances_are_at_most_and_others_at_least(text: str, good: float, bad: float) -> None:
    minimum = Minimum.parse(text)
    assert minimum.is_met_by(good) and not minimum.is_met_by(bad) and not minimum.is_met_by(None)


@pytest.mark.parametrize("text", ["psnr-rgb", "psnr-rgb=", "psnr-rgb=nan", "psnr=30", "=3", "", "psnr-rgb=inf"])
def test_other_words_are_no_minimum(text: str) -> None:
    with pytest.raises(OptionError, match="is not METRIC=FIGURE with one of psnr-rgb"):
        parse_options(EncodeOptions, {"verify_at_least": text})


def test_options_of_who_does_not_verify_are_what_they_were() -> None:
    assert {"verify", "verify_at_least"} & set(EncodeOptions().choices()) == set()
    asked = parse_options(EncodeOptions, {"verify_at_least": "psnr-rgb=30"})
    assert asked.is_verified and parse_options(EncodeOptions, asked.choices()) == asked


def test_good_picture_is_encoded_once_and_nothing_is_noted() -> None:
    options = parse_options(EncodeOptions, REF | {"max_bpp": 0.02, "verify_at_least": "ms-ssim-rgb=0.5"})
    verified = encode_verified(options, encode_picture, by_bpp(lambda bpp: 0.6))
    assert (len(verified.tries), verified.is_met) == (1, True)
    assert verified.encoded.notes == ()
    assert verified.encoded.seconds["verify"] == 1.0


def test_picture_climbs_the_rates_until_it_is_good_enough() -> None:
    options = parse_options(EncodeOptions, REF | {"max_bpp": 0.02, "verify_at_least": "ms-ssim-rgb=0.5"})
    verified = encode_verified(options, encode_picture, by_bpp(lambda bpp: 0.4 if bpp <= 0.02 else 0.7))
    assert verified.is_met and 0.02 < verified.encoded.bpp <= 0.03
    assert [round(tried["bpp"], 2) for tried in verified.as_document()["tries"]] == [0.02, 0.03]
    (note,) = verified.encoded.notes
    assert note.startswith(
        "It was encoded again at a higher rate, to come back with ms-ssim-rgb of at least 0.5: 0.400"
    )
    assert verified.encoded.seconds["verify"] == 2.0


def test_picture_that_no_rate_is_enough_for_ends_at_the_highest() -> None:
    options = parse_options(EncodeOptions, REF | {"max_bpp": 0.02, "verify_at_least": "ms-ssim-rgb=0.99"})
    verified = encode_verified(options, encode_picture, by_bpp(lambda bpp: 10 * bpp))
    assert verified.is_met is False and len(verified.tries) == 3
    assert 0.03 < verified.encoded.bpp <= 0.05
    assert "does not come back with ms-ssim-rgb of at least 0.99 at the highest rate" in verified.encoded.notes[0]


def test_mode_without_rates_and_outside_codecs_are_tried_once() -> None:
    for options, reference in (
        (parse_options(EncodeOptions, {"mode": "pixel", "describe": "none", "verify_at_least": "psnr-rgb=90"}), None),
        (parse_options(EncodeOptions, REF | {"max_bpp": 0.02, "verify_at_least": "psnr-rgb=90"}), png_reference()),
    ):
        verified = encode_verified(
            options,
            lambda chosen, by=reference: encode(PICTURE, chosen, reference=by),
            lambda _: Quality({"psnr-rgb": 20.0}),
        )
        assert (len(verified.tries), verified.is_met) == (1, False)


def png_reference() -> Reference:
    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    return Reference(file.getvalue(), 0.5)


def test_learned_codec_that_is_not_here_ends_the_climb() -> None:
    options = EncodeOptions(mode=Mode.NET, verify_at_least="psnr-rgb=90", rate=2)
    asked: list[int] = []

    def _encode(chosen: EncodeOptions) -> Encoded:
        asked.append(chosen.rate)
        if chosen.rate == 3:
            raise WeightsMissing("It is not here.")
        return ONE

    verified = encode_verified(options, _encode, lambda _: Quality({"psnr-rgb": 20.0}))
    assert asked == [2, 3] and verified.is_met is False and len(verified.tries) == 1


def test_figure_that_does_not_exist_is_told_and_not_taken_for_good() -> None:
    options = parse_options(EncodeOptions, REF | {"max_bpp": 0.02, "verify_at_least": "ms-ssim-rgb=0.5"})
    measured = Quality({"psnr-rgb": 30.0}, {"ms-ssim-rgb": "defined from 161 pixels a side on"})
    verified = encode_verified(options, encode_picture, lambda _: measured)
    assert verified.is_met is False and len(verified.tries) == 1
    assert "cannot be told (defined from 161 pixels a side on)" in verified.encoded.notes[0]
