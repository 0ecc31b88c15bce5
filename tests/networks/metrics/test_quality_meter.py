"""Decodes by the shipped networks and measures beside the original."""

import numpy as np
import pytest
from PIL import Image

from cli.local.networks import restorers
from cli.local.paths import find_network
from codec.encode.pipeline import encode
from codec.errors import Cancelled, FeatureUnavailable
from codec.metrics.ingest import QualityMeter
from codec.options import EncodeOptions, Mode
from misc_archive import encode as encode_file


@pytest.fixture(scope="module")
def meter() -> QualityMeter:
    return QualityMeter(restorers(), find_network)


def picture(edge: int) -> Image.Image:
    y, x = np.mgrid[0:edge, 0:edge]
    return Image.fromarray(np.stack([x % 256, y % 256, (x + y) // 2 % 256], axis=-1).astype(np.uint8))


def test_figures_are_those_of_the_picture_that_an_order_brings(meter: QualityMeter) -> None:
    original = picture(176)
    encoded = encode(original, EncodeOptions(mode=Mode.PIXEL, describe="none"))
    quality = meter.measure(original, encoded, lambda: False)
    assert quality.restorer == "gan" and set(quality.weights) == {"stage1"}
    assert 15 < quality.figures["psnr-rgb"] < 60 and 0.5 < quality.figures["ms-ssim-rgb"] <= 1
    small = picture(64)
    of_small = meter.measure(small, encode(small, EncodeOptions(mode=Mode.PIXEL, describe="none")), lambda: False)
    assert "psnr-rgb" in of_small.figures
    assert of_small.undefined["ms-ssim-rgb"] == "defined from 161 pixels a side on"
    with pytest.raises(Cancelled):
        meter.measure(original, encoded, lambda: True)


def test_metric_that_is_not_here_is_refused_before_anything_is_encoded(
    meter: QualityMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISC_SQZ_WEIGHTS", raising=False)
    with pytest.raises(FeatureUnavailable, match=r"sqz-dist cannot be measured here: .* Those that can are .*psnr-rgb"):
        QualityMeter(restorers(), find_network).check(EncodeOptions(verify_at_least="sqz-dist=0.4"))
    meter.check(EncodeOptions(verify_at_least="psnr-rgb=20"))


def test_python_face_tells_the_quality() -> None:
    encoded = encode_file(picture(48), mode="pixel", describe="none", verify_at_least="psnr-rgb=80")
    assert encoded.quality is not None
    assert encoded.quality["is_met"] is False and encoded.quality["minimum"] == {"metric": "psnr-rgb", "figure": 80.0}
    assert "does not come back with psnr-rgb of at least 80" in encoded.notes[-1]
    assert encode_file(picture(64), mode="pixel", describe="none").quality is None
