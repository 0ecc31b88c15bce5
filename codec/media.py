"""Media types and file suffixes of everything that is read, stored or served: the one table of them.

Which bytes make a file of a format is the business of `codec.picture.formats`; this module opens nothing.
"""

from collections.abc import Mapping
from pathlib import PurePath

MISC = "application/vnd.misc-archive"
"""A `.misc` file; see docs/bitstream.md."""

JSON = "application/json"
JSON_LINES = "application/jsonl"
ZIP = "application/zip"
BINARY = "application/octet-stream"
"""Whatever has no type of its own here."""

AVIF = "image/avif"
BMP = "image/bmp"
GIF = "image/gif"
HEIC = "image/heic"
JP2 = "image/jp2"
JPEG = "image/jpeg"
JXL = "image/jxl"
PNG = "image/png"
PNM = "image/x-portable-anymap"
PSD = "image/vnd.adobe.photoshop"
TIFF = "image/tiff"
WEBP = "image/webp"

_PICTURES: Mapping[str, tuple[str, ...]] = {
    AVIF: (".avif",),
    BMP: (".bmp",),
    GIF: (".gif",),
    HEIC: (".heic", ".heif", ".hif"),
    JP2: (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"),
    JXL: (".jxl",),
    PNG: (".png", ".apng"),
    PNM: (".pnm", ".ppm", ".pgm", ".pbm"),
    PSD: (".psd",),
    TIFF: (".tiff", ".tif"),
    WEBP: (".webp",),
}
SUFFIXES: Mapping[str, tuple[str, ...]] = {**_PICTURES, MISC: (".misc",), JSON: (".json",), JSON_LINES: (".jsonl",)}
"""The suffixes of each media type; the first is the one that is written."""

PICTURE_SUFFIXES = frozenset(suffix for suffixes in _PICTURES.values() for suffix in suffixes)
"""What is taken for a picture where only names can be seen, as in a folder."""

_MEDIA_TYPES = {suffix: media_type for media_type, suffixes in SUFFIXES.items() for suffix in suffixes}


def media_type_of(name: str) -> str:
    """Media type by the suffix of a file name or key, in any case; BINARY for an unknown suffix or none."""
    return _MEDIA_TYPES.get(PurePath(name).suffix.lower(), BINARY)


def suffix_of(media_type: str) -> str:
    """The suffix, with its dot, that files of this type are written with; raises KeyError for an unknown type."""
    return SUFFIXES[media_type][0]
