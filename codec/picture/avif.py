"""AVIF files in all steps that libaom has, as the reference mode makes them. It chooses none."""

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from codec.picture.coded import require_codec

MAX_QUALITY = 63
"""libaom's levels; the imaging library's own 0 to 100 reach the same and have gaps at the low end."""

SHARPNESSES = (2, 1)
"""Settings of the still picture tune below its own of 7: most often they take 1 to 4 % of the bytes off."""


@dataclass(frozen=True)
class AVIFSetting:
    """How a file is written. `quality` in [0, MAX_QUALITY]; `speed` 0 (slowest) to 10; `tune` and `sharpness` None for
    libaom's own for stills."""

    quality: int
    speed: int
    tune: str | None = None
    sharpness: int | None = None


def write_avif(picture: Image.Image, setting: AVIFSetting) -> bytes:
    """The picture (RGB) as a bare file in the settings whose wrapper can be rebuilt: 4:2:0, one frame, no metadata.

    One thread, so that several may be written side by side, of one picture too. Raises FeatureUnavailable without the
    codec.
    """
    require_codec("avif")
    out = io.BytesIO()
    # Tiles are chosen by the number of processors unless they are switched off, and cost bits.
    words: dict[str, Any] = {"speed": setting.speed, "autotiling": False, "max_threads": 1}
    if _has_libaom():
        # The tune stands first, since libaom takes levels that were set before it back.
        advanced = {} if setting.tune is None else {"tune": setting.tune}
        advanced["cq-level"] = str(MAX_QUALITY - setting.quality)
        if setting.sharpness is not None:
            advanced["sharpness"] = str(setting.sharpness)
        # The level overrules the quality; left at its default, the library would take some levels for lossless.
        words |= {"codec": "aom", "quality": 50, "advanced": advanced}
    else:
        words["quality"] = setting.quality * 100 // MAX_QUALITY
    # The imaging library keeps the settings on the picture while it writes: two writers of one would mix theirs.
    picture.copy().save(out, "AVIF", **words)
    return out.getvalue()


def _has_libaom() -> bool:
    from PIL import _avif

    return bool(_avif.encoder_codec_available("aom"))
