"""What callers hand in as a picture or a stream, made into what the codec takes."""

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.errors import OptionError
from codec.limits import MAX_STREAM_BYTES
from codec.picture.open import OpenedPicture, read_picture

PictureSource = bytes | str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic]
"""The bytes of a picture file, its path, a PIL image in any mode, or samples (H, W) or (H, W, 1 to 4)."""

StreamSource = bytes | str | os.PathLike[str]
"""The bytes of a `.misc` file, or its path."""

_PNG_MODES = {"1", "L", "LA", "P", "I;16", "RGB", "RGBA"}
"""Modes that PNG keeps; others become RGB first."""


def picture_of(source: PictureSource) -> OpenedPicture:
    """Mode RGB, upright, sRGB, transparent parts on white. Raises OptionError and what `read_picture` raises."""
    if isinstance(source, np.ndarray):
        source = _image_of(source)
    if isinstance(source, Image.Image):
        # By way of a file, so that depth, transparency and colour profile mean what they mean in one.
        file = io.BytesIO()
        _with_png_mode(source).save(
            file, "PNG", compress_level=1, icc_profile=source.info.get("icc_profile"), exif=source.getexif()
        )
        source = file.getvalue()
    return read_picture(source if isinstance(source, bytes) else Path(source))


def name_of(source: PictureSource) -> str | None:
    """The file's name, by which descriptions are looked up; None where there is no file."""
    if isinstance(source, str | os.PathLike):
        return Path(source).name
    return None


def stream_of(source: StreamSource) -> bytes:
    """The stream's bytes; of a file that is too large only as many as show that it is."""
    if isinstance(source, bytes):
        return source
    with Path(source).open("rb") as file:
        return file.read(MAX_STREAM_BYTES + 1)


def _with_png_mode(image: Image.Image) -> Image.Image:
    if image.mode in _PNG_MODES:
        return image
    if image.mode in ("I", "I;16B", "I;16L"):
        # Pillow has no mode for grey of 16 bits that every plugin uses, and 32 bits carry both that and 8.
        largest = image.getextrema()[1]
        return image.convert("I").convert("I;16" if isinstance(largest, int) and largest > 255 else "L")
    return image.convert("RGBA" if image.mode in ("PA", "RGBa", "La") else "RGB")


def _image_of(samples: npt.NDArray[np.generic]) -> Image.Image:
    """8-bit, 16-bit, boolean, or floating-point samples in [0, 1]."""
    if samples.ndim not in (2, 3) or (samples.ndim == 3 and samples.shape[2] not in (1, 2, 3, 4)) or not samples.size:
        raise OptionError(f"An array of shape {samples.shape} is no picture: (H, W) or (H, W, 1 to 4) is.")
    if np.issubdtype(samples.dtype, np.floating):
        if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 1:
            raise OptionError(
                "Floating-point samples must lie in [0, 1]; divide by the largest value that they can have."
            )
        samples = np.rint(samples.astype(np.float64) * 255).astype(np.uint8)
    elif samples.dtype == np.uint16:
        samples = np.rint(samples.astype(np.float32) / 257).astype(np.uint8)
    elif samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * np.uint8(255)
    elif samples.dtype != np.uint8:
        raise OptionError(
            f"Samples of type {samples.dtype} are ambiguous; hand in uint8, uint16, bool or floats in [0, 1]."
        )
    return Image.fromarray(samples[:, :, 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples)
