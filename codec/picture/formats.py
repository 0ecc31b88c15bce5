"""Which picture formats are opened, recognised by their first bytes, and by which reader. It decodes no pixels.

Readers are constructed directly instead of through Pillow's registry: only what is listed here can ever be reached
by a hostile file, and the pixel limit is this project's own rather than a process-wide setting.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from PIL import Image

from codec import media
from codec.errors import FeatureUnavailable

HEAD_BYTES = 64
"""How much of a file is looked at to recognise it."""


@dataclass(frozen=True)
class Format:
    """One picture format: how a file of it begins and which class reads it."""

    name: str
    media_type: str
    matches: Callable[[bytes], bool]
    module: str
    reader: str
    package: str = "pillow"

    def open(self, file: IO[bytes]) -> Image.Image:
        """Parse the header; the reader's own exceptions pass through. Raises FeatureUnavailable without it."""
        try:
            reader = getattr(importlib.import_module(self.module), self.reader)
        except ImportError:
            raise FeatureUnavailable(
                f"Reading {self.name} needs the package {self.package}, which is not installed here. "
                f"Install it, or convert the picture to PNG."
            ) from None
        image: Image.Image = reader(file)
        return image


def _brands(head: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file, as far as they lie within `head`."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(len(head), int.from_bytes(head[:4], "big"))
    return {head[8:12]} | {head[at : at + 4] for at in range(16, end - 3, 4)}


def _is_avif(head: bytes) -> bool:
    return bool(_brands(head) & {b"avif", b"avis"})


def _is_heic(head: bytes) -> bool:
    known = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
    return bool(_brands(head) & known) and not _is_avif(head)


def _is_jxl(head: bytes) -> bool:
    return head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"))


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_jpeg2000(head: bytes) -> bool:
    return head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"))


def _is_pnm(head: bytes) -> bool:
    return head[:2] in _PNM and (head[2:3].isspace() or head[2:3] == b"#")


_PNM = {b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF"}


FORMATS = (
    Format("JPEG", media.JPEG, lambda head: head.startswith(b"\xff\xd8\xff"), "PIL.JpegImagePlugin", "JpegImageFile"),
    Format("PNG", media.PNG, lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), "PIL.PngImagePlugin", "PngImageFile"),
    Format("WebP", media.WEBP, _is_webp, "PIL.WebPImagePlugin", "WebPImageFile"),
    Format("AVIF", media.AVIF, _is_avif, "PIL.AvifImagePlugin", "AvifImageFile"),
    Format(
        "GIF", media.GIF, lambda head: head.startswith((b"GIF87a", b"GIF89a")), "PIL.GifImagePlugin", "GifImageFile"
    ),
    Format(
        "TIFF",
        media.TIFF,
        lambda head: head.startswith((b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")),
        "codec.picture.tiff",
        "open_tiff",
    ),
    Format("BMP", media.BMP, lambda head: head.startswith(b"BM"), "PIL.BmpImagePlugin", "BmpImageFile"),
    Format("HEIC", media.HEIC, _is_heic, "pillow_heif.as_plugin", "HeifImageFile", "pillow-heif"),
    Format("JPEG 2000", media.JP2, _is_jpeg2000, "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    Format("PNM", media.PNM, _is_pnm, "PIL.PpmImagePlugin", "PpmImageFile"),
    Format("PSD", media.PSD, lambda head: head.startswith(b"8BPS"), "PIL.PsdImagePlugin", "PsdImageFile"),
    Format("JPEG XL", media.JXL, _is_jxl, "pillow_jxl.JpegXLImagePlugin", "JXLImageFile", "pillow-jxl-plugin"),
)


def recognise(head: bytes) -> Format | None:
    """The format of a file that begins with `head` (HEAD_BYTES of it are enough), or None."""
    return next((candidate for candidate in FORMATS if candidate.matches(head)), None)


FORMAT_NAMES = ", ".join(entry.name for entry in FORMATS)
