"""Reads the mark that every reconstruction carries: what made it, and of which stream."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image, UnidentifiedImageError

from codec.errors import PictureUnrecognised

_MISC = "{urn:misc-archive:provenance:1.0/}"
_SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_CREATOR = "{http://ns.adobe.com/xap/1.0/}CreatorTool"
_DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
_LINE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"

_MAX_XMP_BYTES = 1 << 20


def read_mark(path: Path) -> dict[str, Any]:
    """`statement`, `digital_source_type`, `software`, `restorer`, `settings`, `seed`, `generative`, `stream_sha256`,
    and `weights`: the SHA-256 of each network by its part.

    Decodes no pixels. Raises PictureUnrecognised for a file that is no picture or has no mark of ours, and OSError.
    """
    packet = _packet(path)
    description = None if packet is None else packet.find(f".//{_DESCRIPTION}")
    if description is None or f"{_MISC}StreamSHA256" not in description.attrib:
        raise PictureUnrecognised(f"{path.name} does not say that misc decode made it: its metadata have no such mark.")
    line = description.find(f".//{_LINE}")
    return {
        "statement": "" if line is None else line.text or "",
        "digital_source_type": description.get(_SOURCE_TYPE, ""),
        "software": description.get(_CREATOR, ""),
        "restorer": description.get(f"{_MISC}Restorer", ""),
        "settings": description.get(f"{_MISC}Settings", ""),
        "seed": int(description.get(f"{_MISC}Seed", "0")),
        "generative": description.get(f"{_MISC}Generative") == "True",
        "stream_sha256": description.get(f"{_MISC}StreamSHA256", ""),
        "weights": _weights(description.get(f"{_MISC}Weights", "")),
    }


def _weights(words: str) -> dict[str, str]:
    """Of "part digest, part digest", as `Provenance.weights_in_words` has it."""
    pairs = (entry.rpartition(" ") for entry in words.split(", "))
    return {part: digest for part, _, digest in pairs if part}


def _packet(path: Path) -> ElementTree.Element | None:
    """The XMP packet of a picture file, if it has one that can be read."""
    try:
        with Image.open(path) as image:
            xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureUnrecognised(f"{path.name} is no picture that can be opened.") from error
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    # Entities could unfold without bounds, and ours has none.
    if len(text) > _MAX_XMP_BYTES or "<!" in text:
        return None
    try:
        return ElementTree.fromstring(re.sub(r"<\?xpacket.*?\?>", "", text, flags=re.DOTALL).strip() or "<none/>")
    except ElementTree.ParseError:
        return None
