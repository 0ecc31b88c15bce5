"""Which kinds of JPEG, JPEG 2000, PNM and PSD files are known to come out right; all others are refused by name.

TIFF has its own modules. Only headers are read.
"""

import re
import struct
from dataclasses import dataclass
from typing import IO

from codec.errors import PictureUnsupported
from codec.picture.heif_boxes import boxes_in

REMEDY = "Convert it to PNG."
_MAX_HEADER_BYTES = 16 * 1024 * 1024


def _unsupported(what: str) -> PictureUnsupported:
    return PictureUnsupported(f"The {what}, which is not read here. {REMEDY}")


def check_jpeg(file: IO[bytes]) -> None:
    """Raise PictureUnsupported for a JPEG whose frame is not one of 8 bits that is coded as nearly all are."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(5)
        if len(head) < 5 or head[0] != 0xFF:
            return  # damaged, which the reader finds
        marker, length = head[1], int.from_bytes(head[2:4], "big")
        if marker == 0xFF:
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if head[4] != 8:
                raise _unsupported(f"JPEG file has {head[4]} bits a channel")
            if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                raise _unsupported("JPEG file is coded without loss or in a hierarchy")
            return
        if marker == 0xF7:
            raise _unsupported("file is JPEG-LS")
        if marker == 0xDA:
            return
        position += 2 + max(length, 2)


def check_jpeg2000(file: IO[bytes]) -> bytes | None:
    """The ICC profile of a JPEG 2000 file, if it has one; raises PictureUnsupported for other colours than grey, RGB
    and their YCC, and for samples that are signed or differ."""
    file.seek(0)
    data = file.read(_MAX_HEADER_BYTES)
    profile = None
    if data[:4] != b"\xff\x4f\xff\x51":
        spaces: list[bytes] = []
        boxes = dict(boxes_in(data))
        for kind, body in boxes_in(boxes.get(b"jp2h", b"")):
            if kind == b"ihdr" and len(body) > 10 and body[10] != 255 and body[10] & 0x80:
                raise _unsupported("JPEG 2000 file has signed samples")
            if kind == b"colr":
                spaces.append(body)
        profile = _jpeg2000_profile(spaces)
    start = data.find(b"\xff\x4f\xff\x51")
    if start >= 0 and len(data) >= start + 42:
        (count,) = struct.unpack_from(">H", data, start + 40)
        depths = data[start + 42 : start + 42 + 3 * count : 3]
        if len(set(depths)) > 1 or any(depth & 0x80 for depth in depths):
            raise _unsupported("JPEG 2000 file has channels of different kinds or signed samples")
        if count > 1 and depths[:1] != b"\7":
            # The reader rounds whatever is white up to 256, which it then takes for 0.
            raise _unsupported(f"JPEG 2000 file has colours of {depths[0] + 1} bits a channel")
    return profile


def _jpeg2000_profile(spaces: list[bytes]) -> bytes | None:
    """What `colr` boxes hold, each of them known; a kind that is not, beside one that is, may be passed over."""
    numbers = {body[3:7] for body in spaces if body[:1] == b"\1"}
    profile = next((body[3:] for body in spaces if body[:1] in (b"\2", b"\3")), None)
    is_known = numbers <= _ENUMERATED and (profile is None or profile[16:20] in (b"RGB ", b"GRAY"))
    if spaces and not (is_known and (numbers or profile is not None)):
        raise _unsupported("JPEG 2000 file has other colours than grey, sRGB and sYCC")
    return profile


_ENUMERATED = {number.to_bytes(4, "big") for number in (16, 17, 18)}


def check_pnm(file: IO[bytes]) -> int:
    """The highest sample of a PNM file; raises PictureUnsupported for floats (PFM)."""
    file.seek(0)
    head = file.read(4096)
    if head[1:2] in (b"f", b"F"):
        raise _unsupported("PFM file has floating point samples")
    words = re.sub(rb"#[^\n]*", b"", head).split(None, 4)
    try:
        return 1 if head[1:2] in b"14" else int(words[3])
    except (IndexError, ValueError):
        return 255


@dataclass(frozen=True)
class Composite:
    """`has_transparency`: a fourth channel is that, and not a mask that was kept."""

    has_transparency: bool


_PSD_MODES = {(0, 1), (1, 8), (2, 8), (3, 8), (4, 8), (8, 8), (9, 8)}
_VERSION_INFO = 1057


def check_psd(file: IO[bytes]) -> Composite:
    """What the composite picture of a PSD file is; raises PictureUnsupported where there is none that is read."""
    file.seek(0)
    head = file.read(26)
    if len(head) < 26:
        return Composite(False)
    version, bits, mode = struct.unpack(">H", head[4:6])[0], *struct.unpack(">HH", head[22:26])
    if version != 1:
        raise _unsupported("file is a large Photoshop document (PSB)")
    if (mode, bits) not in _PSD_MODES:
        raise _unsupported(f"PSD file has {bits} bits a channel in colour mode {mode}")
    _block(file)
    if _lacks_composite(_block(file)):
        raise PictureUnsupported(
            'The PSD file was saved without its composite picture. Save it with "Maximize compatibility", or as PNG.'
        )
    layers = _block(file)
    (layer_count,) = struct.unpack(">h", layers[4:6]) if len(layers) >= 6 else (0,)
    if file.read(2) not in (b"\0\0", b"\0\1"):
        raise _unsupported("PSD file has a composite picture compressed by ZIP")
    return Composite(layer_count < 0)


def _block(file: IO[bytes]) -> bytes:
    """The beginning of a block that its length precedes; the file stands behind it."""
    length = int.from_bytes(file.read(4), "big")
    begin = file.tell()
    data = file.read(min(length, _MAX_HEADER_BYTES))
    file.seek(begin + length)
    return data


def _lacks_composite(resources: bytes) -> bool:
    at = 0
    while at + 8 <= len(resources) and resources[at : at + 4] == b"8BIM":
        (number,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] | 1) + 1
        length = int.from_bytes(resources[at : at + 4], "big")
        if number == _VERSION_INFO and length >= 5:
            return resources[at + 8] == 0
        at += 4 + length + length % 2
    return False
