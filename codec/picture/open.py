"""Open any picture file a person has as upright 8-bit sRGB. Writing is in `save.py`; no option reaches global state.

What a header claims is checked before pixels are decoded, and formats that need an interpreter are not opened.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageFile

from codec.errors import PictureEmpty, PictureTooLarge, PictureTruncated, PictureUnrecognised
from codec.limits import MAX_PIXELS, MAX_SIDE_PX
from codec.picture import jxl, webp
from codec.picture.formats import FORMAT_NAMES, HEAD_BYTES, Format, recognise
from codec.picture.scans import MAX_SCANS, has_too_many_scans
from codec.picture.tiff import page_notes

_DAMAGE = (
    OSError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow and its plugins raise for damaged bytes; no narrower common type exists."""

_TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_DRAFT_PX = 256
"""A JPEG that is only checked is decoded at a reduced scale: every byte is still read, at a fraction of the time."""


@dataclass(frozen=True)
class PictureInfo:
    """What `check_picture` found: the upright size in pixels and the file's media type."""

    width: int
    height: int
    media_type: str


@dataclass(frozen=True)
class OpenedPicture:
    """A picture (mode RGB), and sentences on what of its file was left out or assumed."""

    picture: Image.Image
    notes: tuple[str, ...] = ()


def open_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture of `read_picture`, for callers who tell nobody what was left out; errors as there."""
    return read_picture(source, max_pixels=max_pixels).picture


def read_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> OpenedPicture:
    """Decode the first frame of a picture file to RGB: upright, sRGB, transparent parts on white, 8 bits a channel.

    Raises PictureEmpty, PictureUnrecognised, PictureTruncated (cut off or damaged), PictureUnsupported (whole, but not
    known to come out right), PictureTooLarge (checked from the header, before pixels are decoded), FeatureUnavailable
    (a format whose plugin is missing) and OSError when the file cannot be read at all. Broken colour profiles are
    ignored.
    """
    with _opened(source, max_pixels) as (image, format_):
        _load(image, format_)
        orientation = _orientation(image, format_)
        profile = image.info.get("icc_profile")
        if format_.name == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
            # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's marker it is not.
            image = ImageChops.invert(image)
        picture = _to_srgb(_flatten(_to_eight_bits(image)), profile)
        notes = page_notes(image)
    if orientation in _TRANSPOSES:
        picture = picture.transpose(_TRANSPOSES[orientation])
    picture.info = {}
    return OpenedPicture(picture, tuple(notes))


def check_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> PictureInfo:
    """Read a picture file to its end and tell its upright size and media type; errors as in `open_picture`.

    JPEG is decoded at a reduced scale, which finds truncation as surely and costs a fraction of the time.
    """
    with _opened(source, max_pixels) as (image, format_):
        width, height = image.size
        if format_.name == "JPEG":
            image.draft("L", (_DRAFT_PX, _DRAFT_PX))
        _load(image, format_)
        if format_.name != "JPEG":
            width, height = image.size
        if _orientation(image, format_) in _TRANSPOSED:
            width, height = height, width
        return PictureInfo(width, height, format_.media_type)


def claimed_size(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels that a picture file's header claims, before any pixel is decoded; errors as above."""
    file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with file:
        # Two readers take memory for the whole picture as they open it.
        claim = _claim_before_opening(file)
        if claim is not None:
            _check_size(claim, max_pixels)
            return claim
    with _opened(source, max_pixels) as (image, _):
        return image.size


def _claim_before_opening(file: IO[bytes]) -> tuple[int, int] | None:
    head = file.read(HEAD_BYTES)
    format_ = recognise(head)
    match format_ and format_.name:
        case "WebP":
            return webp.claimed_size(head)
        case "JPEG XL":
            return jxl.claimed_size(file)
        case _:
            return None


@contextmanager
def _opened(source: Path | bytes, max_pixels: int) -> Iterator[tuple[Image.Image, Format]]:
    """The file with its header parsed and its claims checked; pixels are not decoded yet."""
    file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise PictureEmpty("The file is empty: it has no bytes. Copy or upload it again.")
        format_ = recognise(head)
        if format_ is None:
            raise PictureUnrecognised(
                f"The file is no picture that can be read here, whatever its name says. Known formats: {FORMAT_NAMES}."
            )
        file.seek(0)
        if format_.name == "WebP":
            if (claim := webp.claimed_size(head)) is not None:
                _check_size(claim, max_pixels)
        elif format_.name == "JPEG XL":
            if (claim := jxl.claimed_size(file)) is None:
                raise PictureTruncated("The JPEG XL file has no picture in it. Send the complete original file.")
            _check_size(claim, max_pixels)
            file = jxl.without_jpeg(file)
            file.seek(0)
        elif format_.name == "JPEG":
            if has_too_many_scans(file):
                raise PictureTooLarge(
                    f"The JPEG file has more than {MAX_SCANS} scans, which would take too long to decode. "
                    f"Save it again as an ordinary JPEG or PNG."
                )
            file.seek(0)
        try:
            image = format_.open(file)
        except Image.DecompressionBombError:
            raise PictureTooLarge(_too_large("A part of the picture claims more pixels than", max_pixels)) from None
        except _DAMAGE as error:
            raise PictureTruncated(
                f"The file begins like {format_.name} but its header is cut off or damaged ({error}). "
                f"Send the complete original file."
            ) from None
        with image:
            _check_size(image.size, max_pixels)
            yield image, format_


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureTruncated(f"The picture claims {width}x{height} pixels, so it has none. It is damaged.")
    if width * height > max_pixels:
        raise PictureTooLarge(_too_large(f"The picture claims {width}x{height} pixels, more than", max_pixels))
    if max(size) > MAX_SIDE_PX:
        raise PictureTooLarge(
            f"The picture claims {width}x{height} pixels; a side may have at most {MAX_SIDE_PX}. Reduce it first."
        )


def _too_large(claim: str, max_pixels: int) -> str:
    return f"{claim} the {max_pixels / 1e6:g} million that are allowed. Reduce the picture first."


def _load(image: Image.Image, format_: Format) -> None:
    try:
        image.load()
    except Image.DecompressionBombError:
        raise PictureTooLarge("A frame of the picture claims far more pixels than are allowed.") from None
    except _DAMAGE as error:
        raise PictureTruncated(
            f"The {format_.name} file ends or breaks before the whole picture is there ({error}). "
            f"Send the complete original file."
        ) from None


def _orientation(image: Image.Image, format_: Format) -> int:
    """The EXIF orientation that is still to be applied, 1 when none is."""
    if format_.name == "JPEG XL":
        return 1  # the decoder has applied the codestream's own orientation, which is the one that counts
    try:
        return int(image.getexif().get(0x0112, 1))
    except _DAMAGE:
        return 1


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits, 32 bits or floats as mode L; all others unchanged.

    Pillow clips these modes on conversion; a 16-bit scan would come out almost white.
    """
    if image.mode.startswith("I;16"):
        # Rounded division of 0..65535 by 257, as a table so that no wide copy of the picture is made.
        table = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        native = np.asarray(image)
        return Image.fromarray(table[native.astype(np.uint16, copy=False)])
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            values = np.where(finite, values, 0)
        peak = float(values.max())
        full_scale = next(scale for scale in (1.0, 255.0, 65535.0, max(peak, 65536.0)) if peak <= scale)
        if image.mode == "I" and full_scale == 1.0:
            full_scale = 255.0
        return Image.fromarray(np.clip(values * (255 / full_scale) + 0.5, 0, 255).astype(np.uint8))
    return image


def _flatten(image: Image.Image) -> Image.Image:
    """Palettes resolved and transparency put on white: mode L, RGB, CMYK, YCbCr, LAB or HSV."""
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")  # the only way out of this mode
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(image, mask=image)
        return flat
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """RGB in sRGB, through the embedded ICC profile where it is usable."""
    if isinstance(profile, bytes) and profile and image.mode in ("L", "RGB", "CMYK"):
        converted = _convert_profile(image, profile)
        if converted is not None:
            return converted
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if converted is not None:
            return converted
    if image.mode != "RGB":
        return image.convert("RGB")
    # A reader's own object would carry its file's name and metadata into later encoders; a copy carries nothing.
    return image.copy() if isinstance(image, ImageFile.ImageFile) else image


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB; None when it is already, or when the profile is broken or made for other channels."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "srgb" in (source.profile.profile_description or "").lower():
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, *_DAMAGE):
        return None
