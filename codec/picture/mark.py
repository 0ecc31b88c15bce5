"""Reads the mark that every reconstruction carries: what made it, of which stream, and who signed that."""

import io
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image, UnidentifiedImageError

from codec.errors import PictureUnrecognised
from codec.picture.credentials import has_credentials, read_credentials

_MISC = "{urn:misc-archive:provenance:1.0/}"
_SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_CREATOR = "{http://ns.adobe.com/xap/1.0/}CreatorTool"
_DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
_LINE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"

_MAX_XMP_BYTES = 1 << 20

_MAX_FILE_BYTES = 512 << 20
"""Above any picture of the most pixels that a stream may have, which is 300 MB as it stands."""

_SEED_DIGITS = 19
"""Of the largest seed, 2**63 - 1."""


def read_mark(source: Path | bytes, trusted: bytes | None = None) -> dict[str, Any]:
    """`statement`, `digital_source_type`, `software`, `restorer`, `settings`, `seed`, `generative`, `stream_sha256`,
    `weights`: the SHA-256 of each network by its part, and `signature`: None for a file without content credentials,
    else its `state`, `signer`, `organisation` and `reason`.

    Of a signed file it says what was signed. `trusted`: certificates of authorities, PEM. Decodes no pixels. Raises
    PictureUnrecognised for a file that is no picture or has no mark of ours, and OSError.
    """
    name = source.name if isinstance(source, Path) else "This file"
    file = source if isinstance(source, bytes) else _read(source)
    media_type, xmp = _head(file, name)
    statements, signature = _statements(xmp), None
    if has_credentials(file):
        signature, signed = read_credentials(io.BytesIO(file), media_type, trusted)
        statements = signed or statements
    if statements is None:
        raise PictureUnrecognised(f"{name} does not say that misc decode made it: its metadata have no such mark.")
    return statements | {"signature": None if signature is None else asdict(signature)}


def _read(path: Path) -> bytes:
    """A whole file that may be a reconstruction. Raises PictureUnrecognised for one that no reconstruction can be."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_FILE_BYTES:
            raise PictureUnrecognised(
                f"{path.name} has {size >> 20} MB, and no reconstruction has more than {_MAX_FILE_BYTES >> 20}."
            )
        return file.read(_MAX_FILE_BYTES)


def _statements(xmp: str | bytes) -> dict[str, Any] | None:
    """What an XMP packet of ours says."""
    packet = _packet(xmp)
    description = None if packet is None else packet.find(f".//{_DESCRIPTION}")
    if description is None or f"{_MISC}StreamSHA256" not in description.attrib:
        return None
    seed = description.get(f"{_MISC}Seed", "0")
    if not (seed.isascii() and seed.isdigit() and len(seed) <= _SEED_DIGITS):
        return None
    line = description.find(f".//{_LINE}")
    return {
        "statement": "" if line is None else line.text or "",
        "digital_source_type": description.get(_SOURCE_TYPE, ""),
        "software": description.get(_CREATOR, ""),
        "restorer": description.get(f"{_MISC}Restorer", ""),
        "settings": description.get(f"{_MISC}Settings", ""),
        "seed": int(seed),
        "generative": description.get(f"{_MISC}Generative") == "True",
        "stream_sha256": description.get(f"{_MISC}StreamSHA256", ""),
        "weights": _weights(description.get(f"{_MISC}Weights", "")),
    }


def _weights(words: str) -> dict[str, str]:
    """Of "part digest, part digest", as `Provenance.weights_in_words` has it."""
    pairs = (entry.rpartition(" ") for entry in words.split(", "))
    return {part: digest for part, _, digest in pairs if part}


def _head(file: bytes, name: str) -> tuple[str, str | bytes]:
    """The media type of a picture file, and its XMP packet as it stands."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
            return image.get_format_mimetype() or "", xmp
    except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureUnrecognised(f"{name} is no picture that can be opened.") from error


def _packet(xmp: str | bytes) -> ElementTree.Element | None:
    """The packet, if it can be read."""
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    # Entities could unfold without bounds, and ours has none.
    if len(text) > _MAX_XMP_BYTES or "<!" in text:
        return None
    try:
        return ElementTree.fromstring(re.sub(r"<\?xpacket.*?\?>", "", text, flags=re.DOTALL).strip() or "<none/>")
    except ElementTree.ParseError:
        return None
