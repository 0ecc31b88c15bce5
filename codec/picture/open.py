"""Open any picture file a person has as upright 8-bit sRGB. Writing is in `save.py`; no option reaches global state.

What a header claims is checked before pixels are decoded, and formats that need an interpreter are not opened.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageChops

from codec.errors import PictureEmpty, PictureTooLarge, PictureTruncated, PictureUnrecognised, PictureUnsupported
from codec.limits import MAX_PIXELS, MAX_SIDE_PX
from codec.picture import bmp, deep, heif_boxes, icc, jxl, kinds, png, webp
from codec.picture.colour import ADOBE_RGB, ColourSignal, Pixels, known
from codec.picture.damage import DAMAGE
from codec.picture.formats import FORMAT_NAMES, HEAD_BYTES, Format, recognise
from codec.picture.jxl_header import CodestreamHeader
from codec.picture.plain import to_plain
from codec.picture.scans import MAX_SCANS, has_too_many_scans
from codec.picture.tiff import SampledTIFF, page_notes
from codec.picture.tiff_header import EXTRA_SAMPLES, PRIMARIES, WHITE_POINT, Directory

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
    with _opened(source, max_pixels) as opened:
        image, format_ = opened.image, opened.format
        notes = _frame_notes(image, format_)
        _load(image, format_)
        orientation = _orientation(image, format_)
        if format_.name == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
            # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's marker it is not.
            image = ImageChops.invert(image)
        if opened.drops_alpha and image.mode == "RGBA":
            image = image.convert("RGB")
            notes.append("The PSD file's fourth channel is a mask that was kept with it; it was left out.")
        profile = opened.profile
        signal = known(opened.signal or _image_signal(image, format_))
        if profile and signal is not None and not signal.outranks_icc:
            signal = None
        pixels = _deep_pixels(opened) if opened.needs_depth else None
        if pixels is not None and signal is None and format_.name in deep.ONLY_DEEP:
            image = Image.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))
        picture, more = to_plain(
            image,
            profile=profile,
            signal=signal,
            key=opened.key,
            bits=opened.bits,
            alpha_may_be_unused=format_.name == "BMP" or _has_unnamed_channel(image),
            deep=pixels,
            full_scale=opened.full_scale,
        )
        notes += page_notes(image) + more
    if orientation in _TRANSPOSES:
        picture = picture.transpose(_TRANSPOSES[orientation])
    picture.info = {}
    return OpenedPicture(picture, tuple(notes))


def check_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> PictureInfo:
    """Read a picture file to its end and tell its upright size and media type; errors as in `open_picture`.

    JPEG is decoded at a reduced scale, which finds truncation as surely and costs a fraction of the time.
    """
    with _opened(source, max_pixels) as opened:
        image, format_ = opened.image, opened.format
        width, height = image.size
        if format_.name == "JPEG":
            image.draft("L", (_DRAFT_PX, _DRAFT_PX))
        _load(image, format_)
        if format_.name != "JPEG":
            width, height = image.size
        if _orientation(image, format_) in _TRANSPOSED:
            width, height = height, width
        return PictureInfo(width, height, format_.media_type)


@contextmanager
def opened_header(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The reader's image with its header parsed and no pixel decoded, for what the header says; errors as above."""
    with _opened(source, max_pixels) as opened:
        yield opened.image


def claimed_size(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels that a picture file's header claims, before any pixel is decoded; errors as above."""
    file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with file:
        # Two readers take memory for the whole picture as they open it.
        claim = _claim_before_opening(file)
        if claim is not None:
            _check_size(claim, max_pixels)
            return claim
    with _opened(source, max_pixels) as opened:
        return opened.image.size


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


@dataclass(frozen=True)
class _Opened:
    """`signal`, `profile`, `key` and `bits` are what the file says and the reader does not; see `to_plain`."""

    image: Image.Image
    format: Format
    file: IO[bytes]
    signal: ColourSignal | None = None
    profile: bytes | None = None
    key: tuple[int, ...] | None = None
    bits: int = 8
    full_scale: int | None = None
    drops_alpha: bool = False
    """The fourth channel is none of transparency."""
    needs_depth: bool = False
    """Its colours come out wrong by the reader's 8 bits."""


@contextmanager
def _opened(source: Path | bytes, max_pixels: int) -> Iterator[_Opened]:
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
        codestream: CodestreamHeader | None = None
        if format_.name == "WebP":
            if (claim := webp.claimed_size(head)) is not None:
                _check_size(claim, max_pixels)
        elif format_.name == "JPEG XL":
            if (codestream := jxl.header(file)) is None:
                raise PictureTruncated("The JPEG XL file has no picture in it. Send the complete original file.")
            _check_size((codestream.width, codestream.height), max_pixels)
            file = jxl.without_jpeg(file)
            file.seek(0)
        elif format_.name == "JPEG":
            if has_too_many_scans(file):
                raise PictureTooLarge(
                    f"The JPEG file has more than {MAX_SCANS} scans, which would take too long to decode. "
                    f"Save it again as an ordinary JPEG or PNG."
                )
            file.seek(0)
        signal: ColourSignal | None = None
        profile: bytes | None = None
        key: tuple[int, ...] | None = None
        bits = 8
        full_scale: int | None = None
        drops_alpha = False
        if format_.name == "PNG":
            chunks = png.walk(file)
            file, signal, profile, key, bits = chunks.file, chunks.signal, chunks.profile, chunks.key, chunks.bits
        elif format_.name in ("AVIF", "HEIC"):
            properties = heif_boxes.properties_of(file)
            signal, bits = properties.signal, properties.bits
        elif codestream is not None:
            signal, bits = _jxl_signal(codestream), codestream.bits
        elif format_.name == "BMP":
            signal, profile = bmp.colour_of(file)
        elif format_.name == "JPEG":
            kinds.check_jpeg(file)
        elif format_.name == "JPEG 2000":
            profile = kinds.check_jpeg2000(file)
        elif format_.name == "PNM":
            full_scale = 65535 if kinds.check_pnm(file) > 255 else 255
        elif format_.name == "PSD":
            drops_alpha = not kinds.check_psd(file).has_transparency
        file.seek(0)
        try:
            image = format_.open(file)
        except Image.DecompressionBombError:
            raise PictureTooLarge(_too_large("A part of the picture claims more pixels than", max_pixels)) from None
        except DAMAGE as error:
            raise PictureTruncated(
                f"The file begins like {format_.name} but its header is cut off or damaged ({error}). "
                f"Send the complete original file."
            ) from None
        with image:
            _check_size(image.size, max_pixels)
            profile = profile or _profile_of(image)
            if profile and (signal is None or not signal.outranks_icc):
                signal = icc.hdr_signal(profile) or signal
            if profile and not icc.is_usable(profile, image.mode):
                profile = None  # what else tells of colours counts
            counted = known(signal) if not profile or (signal is not None and signal.outranks_icc) else None
            has_profile = bool(profile) and not icc.is_srgb(profile or b"")
            needs_depth = deep.is_needed(format_, bits, counted, has_profile=has_profile)
            yield _Opened(image, format_, file, signal, profile, key, bits, full_scale, drops_alpha, needs_depth)


def _profile_of(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _jxl_signal(codestream: CodestreamHeader) -> ColourSignal | None:
    """The colours of the header; the profile that the reader makes of them is followed less well.

    Raises PictureUnsupported for what the reader gives wrongly: of an animation the last frame, of floats only what is
    no brighter than white.
    """
    if codestream.is_animated:
        raise PictureUnsupported("The JPEG XL file is an animation, which is not read here. Convert a frame to PNG.")
    if codestream.is_float:
        raise PictureUnsupported(
            "The JPEG XL file has floating point samples, which are not read here. Convert it to PNG."
        )
    signal = codestream.signal
    return replace(signal, outranks_icc=True) if signal is not None else None


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
    except DAMAGE as error:
        raise PictureTruncated(
            f"The {format_.name} file ends or breaks before the whole picture is there ({error}). "
            f"Send the complete original file."
        ) from None


def _has_unnamed_channel(image: Image.Image) -> bool:
    """Whether a TIFF file has a fourth channel that it does not call transparency."""
    directory = image.info.get("pages")
    return isinstance(directory, Directory) and not directory.page.values(EXTRA_SAMPLES)


def _deep_pixels(opened: _Opened) -> Pixels | None:
    if isinstance(opened.image, SampledTIFF):
        return opened.image.deep
    if opened.image.mode.startswith("I;16"):
        return np.asarray(opened.image).astype(np.uint16)[..., None]
    try:
        pixels = deep.deep_pixels(opened.file, opened.format, opened.bits)
    except DAMAGE:
        pixels = None
    if pixels is not None and pixels.shape[:2] == opened.image.size[::-1]:
        return pixels
    if opened.format.name in deep.ONLY_DEEP:
        raise PictureUnsupported(
            f"The {opened.format.name} file's samples of {opened.bits} bits are not read here. Convert it to PNG."
        )
    return None  # the picture has been read in 8 bits


def _frame_notes(image: Image.Image, format_: Format) -> list[str]:
    """A sentence where the file has frames after the first; asked before pixels are decoded."""
    if format_.name in ("TIFF", "PSD"):
        return []  # pages have their own note; frames of a PSD file are the layers that the picture is made of
    try:
        if format_.name == "JPEG":
            return [_STEREO] if "mp" in image.info and _has_views(image) else []
        is_gif = format_.name == "GIF"  # whose frames cannot be counted without reading all
        frames = 1 + bool(getattr(image, "is_animated", False)) if is_gif else int(getattr(image, "n_frames", 1))
        image.seek(0)
    except DAMAGE:
        return []
    if frames < 2:
        return []
    count = "more than one frame or picture" if format_.name == "GIF" else f"{frames} frames or pictures"
    return [f"The {format_.name} file has {count}; the first one is the picture, the others were left out."]


_STEREO = "The JPEG file has further views (of a stereo pair, panorama or series); they were left out."
_VIEWS = {"Multi-Frame Image: (Panorama)", "Multi-Frame Image: (Disparity)", "Multi-Frame Image: (Multi-Angle)"}


def _has_views(image: Image.Image) -> bool:
    """Whether the further pictures in a JPEG file are no previews and gain maps of the first."""
    directory = image._getmp() or {}  # type: ignore[attr-defined]
    return any(entry["Attribute"]["MPType"] in _VIEWS for entry in directory.get(0xB002, ())[1:])


def _image_signal(image: Image.Image, format_: Format) -> ColourSignal | None:
    """What EXIF says of colours, by the design rule for camera file systems, or what a TIFF file's own tags say."""
    directory = image.info.get("pages")
    if isinstance(directory, Directory):
        white, ends = directory.page.fractions(WHITE_POINT), directory.page.fractions(PRIMARIES)
        if len(white) == 2 and len(ends) == 6:
            return ColourSignal(chromaticities=(*white, *ends))
    try:
        exif = image.getexif()
        if exif.get_ifd(0x8769).get(0xA001) in (2, 0xFFFF) and exif.get_ifd(0xA005).get(1) == "R03":
            return ColourSignal(chromaticities=ADOBE_RGB, gamma=2.2)
    except DAMAGE:
        pass
    return None


def _orientation(image: Image.Image, format_: Format) -> int:
    """The EXIF orientation that is still to be applied, 1 when none is."""
    if format_.name == "JPEG XL":
        return 1  # the decoder has applied the codestream's own orientation, which is the one that counts
    try:
        return int(image.getexif().get(0x0112, 1))
    except DAMAGE:
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
