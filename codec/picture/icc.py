"""ICC profiles of HDR, which colour management shows dark: what they say by number or by name. It converts none."""

import io
import re

from PIL import ImageCms

from codec.picture.colour import HLG, PQ, ColourSignal
from codec.picture.damage import DAMAGE

_TAGS = 128
_MAX_TAGS = 256
_BT2020, _DISPLAY_P3 = 9, 12


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
