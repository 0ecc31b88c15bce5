"""ICC profiles: pictures brought to sRGB by them, from all bits where colours are not sRGB's; and those of HDR, which
colour management shows dark, as what they say by number or by name.
"""

import importlib.util
import io
import re
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from codec.picture.colour import HLG, PQ, ColourSignal, Pixels
from codec.picture.damage import DAMAGE

_TAGS = 128
_MAX_TAGS = 256
_BT2020, _DISPLAY_P3 = 9, 12


_PROBE_LEVELS = (0, 3, 8, 16, 32, 64, 96, 128, 160, 192, 224, 255)
_SAME_LEVELS = 2
"""By how much a picture in sRGB comes back changed from a profile of sRGB."""

_SPACES = {1: ("gray", b"GRAY"), 3: ("rgb", b"RGB ")}
_BAND_ROWS = 256


def convert(image: Image.Image, profile: bytes) -> Image.Image | None:
    """A picture (L, RGB or CMYK) in sRGB; None when it is already, or when the profile is broken or made for other
    channels."""
    if image.mode == "RGB" and is_srgb(profile):
        return None
    return _converted(image, profile)


def is_usable(profile: bytes, mode: str) -> bool:
    """Whether a picture in this mode of Pillow can be converted by it: neither broken nor made for other channels."""
    plain = "CMYK" if mode == "CMYK" else "L" if mode in ("1", "L", "LA", "La", "I", "F") or "16" in mode else "RGB"
    return _converted(Image.new(plain, (1, 1)), profile) is not None


def is_srgb(profile: bytes) -> bool:
    """Whether nothing comes out of it but what went in: names do not tell, since linear light is called sRGB too."""
    probe = _probe()
    converted = _converted(probe, profile)
    if converted is None:
        return False
    return int(np.abs(np.asarray(converted).astype(int) - np.asarray(probe)).max()) <= _SAME_LEVELS


def convert_deep(pixels: Pixels, profile: bytes) -> Image.Image | None:
    """A picture of 16 bits a channel, (height, width, 1 to 4), in sRGB, its transparency untouched; None where the
    profile is broken or for other channels, or where the package imagecodecs, which has the bits for it, is missing."""
    channels = pixels.shape[2] - 1 if pixels.shape[2] in (2, 4) else pixels.shape[2]
    name, space = _SPACES[channels]
    if profile[16:20] != space or importlib.util.find_spec("imagecodecs") is None:
        return None
    import imagecodecs

    out = np.empty((*pixels.shape[:2], 3 + pixels.shape[2] - channels), np.uint8)
    out[..., 3:] = pixels[..., channels:] >> 8
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        for top in range(0, len(pixels), _BAND_ROWS):
            band = np.ascontiguousarray(pixels[top : top + _BAND_ROWS, :, :channels])
            out[top : top + _BAND_ROWS, :, :3] = imagecodecs.cms_transform(
                band if channels == 3 else band[..., 0],
                profile,
                target,
                colorspace=name,
                outcolorspace="rgb",
                outdtype="uint8",
                intent=imagecodecs.CMS.INTENT.PERCEPTUAL,
            )
    except (imagecodecs.CmsError, *DAMAGE):
        return None
    return Image.fromarray(out)


@cache
def _probe() -> Image.Image:
    """A picture with greys and colours of all kinds."""
    levels = np.array(_PROBE_LEVELS, np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return Image.fromarray(np.ascontiguousarray(grid.reshape(len(levels), -1, 3)))


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *DAMAGE):
        return None


def hdr_signal(profile: bytes) -> ColourSignal | None:
    """What a profile of PQ or HLG stands for: its `cicp` tag (ICC.1:2022), else its name; None for all others."""
    found = _numbers(profile) or _named(profile)
    if found is None or found[1] not in (PQ, HLG):
        return None
    return ColourSignal(*found, outranks_icc=True)


def _numbers(profile: bytes) -> tuple[int, int] | None:
    count = min(int.from_bytes(profile[_TAGS : _TAGS + 4], "big"), _MAX_TAGS)
    for at in range(_TAGS + 4, _TAGS + 4 + 12 * count, 12):
        if profile[at : at + 4] == b"cicp":
            body = profile[int.from_bytes(profile[at + 4 : at + 8], "big") :][:12]
            return (body[8], body[9]) if body[:4] == b"cicp" and len(body) == 12 else None
    return None


def _named(profile: bytes) -> tuple[int, int] | None:
    """Profiles of before the tag are called `ITUR_2100_PQ_FULL`, `Rec. ITU-R BT.2100 PQ` and the like."""
    try:
        name = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description or ""
    except (ImageCms.PyCMSError, *DAMAGE):
        return None
    words = re.search(r"(2100|2020|202|P3|DCI).*(PQ|PeQ|HLG)", name)
    if words is None:
        return None
    return _DISPLAY_P3 if words[1] in ("P3", "DCI") else _BT2020, HLG if words[2] == "HLG" else PQ
