"""Encodes for commands and the Python face that decode at once where the options ask for it."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from codec.encode.pipeline import Encoded
    from codec.metrics.ingest import QualityMeter
    from codec.options import EncodeOptions


def encode_and_verify(
    picture: "Image.Image", options: "EncodeOptions", encode: "Callable[[EncodeOptions], Encoded]"
) -> "tuple[Encoded, dict[str, Any] | None]":
    """What `encode` makes of the options, or of those of a higher rate, and how good it came back; None where that is
    not asked for. Raises what an encode and a decode raise."""
    if not options.is_verified:
        return encode(options), None
    from codec.metrics.ingest import encode_verified

    meter = quality_meter()
    meter.check(options)
    verified = encode_verified(options, encode, lambda encoded: meter.measure(picture, encoded, lambda: False))
    return verified.encoded, verified.as_document()


@lru_cache(maxsize=1)
def quality_meter() -> "QualityMeter":
    """The one of this process. Raises FeatureUnavailable where there are no libraries for networks."""
    from cli.local.networks import restorers
    from cli.local.paths import find_network
    from codec.metrics.ingest import QualityMeter

    return QualityMeter(restorers(), find_network)
