"""The metrics' figures on pictures for which they are known, and what they do where they are not defined."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image, ImageFilter  # noqa: E402

from codec.metrics.metric import Undefined, View  # noqa: E402
from codec.metrics.registry import Metrics, load_metrics  # noqa: E402


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MISC_SQZ_WEIGHTS", raising=False)
        patch.setattr("codec.metrics.registry.load_perceptual_arrays", lambda file: {})
        return load_metrics()


def picture(width: int = 176, height: int = 168, seed: int = 3) -> Image.Image:
    """Smooth shapes with an edge and a little noise."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(-12, 13, (height, width, 3))
    values = np.stack([x * 255 // width, y * 255 // height, np.where(x > y, 190, 60)], axis=-1) + noise
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def test_psnr_of_a_known_error(metrics: Metrics) -> None:
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    brighter = Image.new("RGB", (8, 8), (110, 100, 100))
    # An error of 10 in one of three channels: 10 log10(255^2 / (100 / 3)).
    assert metrics.measure(View(grey), brighter).values["psnr-rgb"] == pytest.approx(32.9020, abs=1e-4)


def test_figures_of_compressai_are_ours(metrics: Metrics) -> None:
    codecs = pytest.importorskip("compressai.utils.bench.codecs")
    original, blurred = picture(), picture().filter(ImageFilter.GaussianBlur(2))
    expected = codecs.compute_metrics(blurred, original, ["psnr-rgb", "ms-ssim-rgb"])
    values = metrics.measure(View(original), blurred).values
    assert values["psnr-rgb"] == pytest.approx(expected["psnr-rgb"], abs=1e-4)
    assert values["ms-ssim-rgb"] == pytest.approx(expected["ms-ssim-rgb"], abs=1e-5)


def test_equal_pictures_are_perfect_and_their_psnr_is_not_a_number(metrics: Metrics) -> None:
    measured = metrics.measure(View(picture()), picture())
    assert measured.values["psnr-rgb"] is None
    assert "equal" in measured.undefined["psnr-rgb"]
    assert measured.values["ms-ssim-rgb"] == pytest.approx(1, abs=1e-6)
    assert measured.values["gmsd"] == pytest.approx(0, abs=1e-6)
    assert measured.values["haarpsi"] == pytest.approx(1, abs=1e-4)


def test_more_blur_is_worse_by_every_metric_but_weave(metrics: Metrics) -> None:
    original = View(picture())
    steps = [metrics.measure(original, picture().filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 2, 4)]
    for name, is_distance in metrics.is_distance.items():
        if name == "weave":
            continue
        values = [step.values[name] for step in steps]
        assert values == sorted(values, reverse=not is_distance), name


@pytest.mark.parametrize(
    ("side", "undefined"),
    [
        (1, {"ms-ssim-rgb", "gmsd", "haarpsi", "weave"}),
        (15, {"ms-ssim-rgb", "haarpsi", "weave"}),
        (63, {"ms-ssim-rgb", "weave"}),
        (160, {"ms-ssim-rgb"}),
        (161, set()),
    ],
)
def test_small_pictures_have_no_figure_but_a_reason(metrics: Metrics, side: int, undefined: set[str]) -> None:
    measured = metrics.measure(View(picture(side, side)), picture(side, side, seed=4))
    assert {name for name, value in measured.values.items() if value is None} == undefined == set(measured.undefined)


def test_candidate_of_another_size_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="size"):
        metrics.measure(View(picture(20, 20)), picture(20, 21))


def test_what_cannot_be_computed_here_is_named_with_the_reason(metrics: Metrics) -> None:
    assert "MISC_SQZ_WEIGHTS" in metrics.left_out["sqz-dist"]
    assert "pip install" in metrics.left_out["lpips-alex"]
    names = {metric.name for metric in metrics.each}
    everything = {
        "lpips-alex", "lpips-vgg", "dists", "sqz-dist", "psnr-rgb", "ms-ssim-rgb", "haarpsi", "gmsd", "weave",
    }  # fmt: skip
    assert names | set(metrics.left_out) == everything
    assert not names & set(metrics.left_out)


@pytest.mark.parametrize(("side", "name"), [(176, "ms-ssim-rgb"), (40, "ms-ssim-luma"), (1, "ms-ssim-luma")])
def test_judge_is_one_that_is_defined_and_prefers_the_closer_picture(metrics: Metrics, side: int, name: str) -> None:
    original = picture(side, side)
    judge = metrics.judge(View(original))
    assert judge.name == name
    far = Image.new("RGB", original.size)
    assert judge.loss(original) < judge.loss(far)


def test_undefined_is_not_an_error_of_the_codec() -> None:
    from codec.errors import CodecError

    assert not issubclass(Undefined, CodecError)
