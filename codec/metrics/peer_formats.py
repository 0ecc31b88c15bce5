"""How AVIF, WebP, JPEG XL and JPEG are written for a comparison: settings, ranges of quality, versions. No choice."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import PIL
from PIL import Image, features

from codec.errors import FeatureUnavailable
from codec.picture.coded import require_codec

Setting = Mapping[str, Any]
"""Words of Pillow's `save`; for AVIF also `tune`, which is libaom's."""

_UNFIT = (OSError, ValueError, RuntimeError)
"""What encoders raise for a size that they cannot hold, and for a tune that their version does not know."""

_MOST_CQ_LEVEL = 63


@dataclass(frozen=True)
class PeerFormat:
    """A peer: its range of quality, and the settings that may give its best file.

    `settings` are tried at every scale that may win, `refinements` over the setting that wins. `growth`: by how much
    the logarithm of the bytes rises with one step of quality near the budgets of this archive.
    """

    pillow_name: str
    qualities: tuple[int, int]
    growth: float
    settings: tuple[Setting, ...]
    refinements: tuple[Setting, ...] = ()
    fixed: Setting = field(default_factory=dict)


FORMATS: Mapping[str, PeerFormat] = {
    # Quality is 63 - cq-level, libaom's own steps: half of Pillow's 0 to 100 give the file of their neighbour. Tiles
    # are chosen by the number of processors unless they are switched off, and cost bits.
    "avif": PeerFormat(
        "AVIF",
        (0, _MOST_CQ_LEVEL),
        growth=0.065,
        settings=tuple({"tune": tune, "speed": 6} for tune in ("iq", "ssimulacra2", "ssim", "psnr")),
        refinements=({"speed": 4}, {"speed": 2}),
        fixed={"autotiling": False, "codec": "aom"},
    ),
    "webp": PeerFormat("WEBP", (0, 100), growth=0.03, settings=({"method": 6},)),
    "jxl": PeerFormat("JXL", (0, 99), growth=0.03, settings=({"effort": 8},), refinements=({"effort": 9},)),
    "jpeg": PeerFormat(
        "JPEG",
        (1, 100),
        growth=0.05,
        settings=({"optimize": True}, {"optimize": True, "progressive": True}),
        fixed={"subsampling": 2},
    ),
}

PEERS = tuple(FORMATS)


def write_peer(codec: str, picture: Image.Image, quality: int, setting: Setting) -> bytes | None:
    """A whole file of the RGB picture, as its library writes it; None where it cannot hold the picture so."""
    peer = FORMATS[codec]
    words = {**peer.fixed, **setting}
    if codec == "avif":
        # Quality 50 is overruled by the level; left at its default, Pillow would take some levels for lossless.
        level = str(_MOST_CQ_LEVEL - quality)
        words |= {"quality": 50, "advanced": {"tune": words.pop("tune"), "cq-level": level}}
    else:
        words["quality"] = quality
    out = io.BytesIO()
    try:
        picture.save(out, peer.pillow_name, **words)
    except _UNFIT:
        return None
    return out.getvalue()


def require_peer(codec: str) -> None:
    """Raise FeatureUnavailable where the peer cannot be written and read here."""
    require_codec(codec)
    if codec == "avif":
        from PIL import _avif

        if not _avif.encoder_codec_available("aom"):
            raise FeatureUnavailable(
                "Comparing with AVIF needs an imaging library with libaom; leave --peers avif out."
            )


def peers_here() -> tuple[str, ...]:
    """Those peers that can be written and read on this machine."""
    here = []
    for codec in PEERS:
        try:
            require_peer(codec)
        except FeatureUnavailable:
            continue
        here.append(codec)
    return tuple(here)


def library_of(codec: str) -> str:
    """Names the versions that write the files, so that kept ones of other versions are not taken for theirs."""
    if codec == "jxl":
        return f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"
    if codec == "avif":
        from PIL import _avif

        return f"pillow {PIL.__version__} libavif {features.version('avif')} {_avif.codec_versions()}"
    name = "jpg" if codec == "jpeg" else codec
    return f"pillow {PIL.__version__} {name} {features.version(name)}"


def words_of(setting: Setting) -> str:
    """A setting as reports show it."""
    return ", ".join(f"{name} {value}" for name, value in setting.items())
