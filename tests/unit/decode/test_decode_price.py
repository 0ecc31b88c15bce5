"""A decode is priced by its options and size before anything is done."""

import pytest

from codec.decode_price import DecodeLimits, evaluated_pixels
from codec.errors import DecodeTooCostly
from codec.options import DecodeOptions, RestorerName, Schedule
from core.settings import WorkerSettings

_LIMITS = WorkerSettings().decode_limits


def _options(**values: object) -> DecodeOptions:
    return DecodeOptions.model_validate({"restorer": "diffusion", "profile": "sd21"} | values)


def test_small_picture_with_many_steps_at_a_high_resolution_is_refused_with_its_figure() -> None:
    options = _options(schedule="staged", steps=117, res=1212)
    # 1216 x 1664 padded pixels, (117 + 3 items x 3) steps of two evaluations, and three stages.
    assert evaluated_pixels(options, 96, 72) == 1216 * 1664 * (2 * 117 + 2 * 9 + 3)
    with pytest.raises(DecodeTooCostly, match="516 megapixels; at most 480"):
        _LIMITS.check(options, 96, 72)


@pytest.mark.parametrize(
    ("values", "width", "height"),
    [
        ({}, 768, 512),
        ({}, 4000, 3000),
        ({"schedule": "staged"}, 768, 512),
        ({"schedule": "staged"}, 2000, 1500),
        ({"profile": "lite"}, 8000, 6000),
        ({"profile": "lite", "restorer": "gan"}, 8000, 6000),
        ({"restorer": "smooth"}, 10_000, 10_000),
    ],
)
def test_orders_as_people_make_them_are_taken(values: dict[str, object], width: int, height: int) -> None:
    _LIMITS.check(_options(**values), width, height)


@pytest.mark.parametrize("restorer", [RestorerName.GAN, RestorerName.DIFFUSION])
def test_picture_of_a_hundred_megapixels_is_not_restored_by_networks(restorer: RestorerName) -> None:
    with pytest.raises(DecodeTooCostly, match="10000 x 10000"):
        _LIMITS.check(DecodeOptions(restorer=restorer), 10_000, 10_000)


def test_price_grows_with_steps_size_and_guidance() -> None:
    limits = DecodeLimits(10**8, 10**8)
    limits.check(_options(steps=10), 96, 72)
    prices = [
        evaluated_pixels(_options(**values), 96, 72)
        for values in ({"guidance": 1}, {}, {"steps": 13}, {"steps": 13, "res": 1200})
    ]
    assert prices == sorted(prices) and len(set(prices)) == 4
    assert evaluated_pixels(_options(), 96, 72) < evaluated_pixels(_options(schedule=Schedule.STAGED), 96, 72)


def test_steps_that_are_drawn_to_the_coarse_picture_cost_three_evaluations_more() -> None:
    plain, drawn = (evaluated_pixels(_options(**values), 64, 64) for values in ({}, {"coarse_guidance": 0.5}))
    assert drawn - plain == 12 * 3 * 1024 * 1024
    assert evaluated_pixels(_options(stage="coarse"), 64, 64) == 0
