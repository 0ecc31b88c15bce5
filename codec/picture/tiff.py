"""TIFF pictures: those combinations of tags that are known to come out right, as 8 bits a channel; all others refused.

Pillow reads what is compressed as JPEG or as a fax. For the rest libtiff, through Pillow, takes the compression off and
nothing else (`tiff_chunks.py`); what the samples mean is worked out here (`tiff_samples.py`), where no reader guesses.
"""

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from codec.picture import tiff_header as tags
from codec.picture.tiff_chunks import read_samples
from codec.picture.tiff_header import Directory, read_directory
from codec.picture.tiff_layout import FAX, JPEG, NONE, WHITE_IS_ZERO, Layout, check_pillow
from codec.picture.tiff_samples import Samples, to_deep, to_picture

_DEEP_MODES = ("L", "LA", "RGB", "RGBA")
"""Colours multiplied by their transparency are divided in 8 bits alone."""


def open_tiff(file: IO[bytes]) -> Image.Image:
    """The picture of a TIFF file, its pixels still to be loaded. Raises PictureUnsupported and PictureTruncated."""
    directory = read_directory(file)
    compression = directory.page.value(tags.COMPRESSION, NONE)
    if compression in FAX or compression == JPEG:
        check_pillow(directory.page, compression)
        file.seek(0)
        image = TiffImagePlugin.TiffImageFile(file)
        if directory.page.number:
            image.seek(directory.page.number)
        image.info["pages"] = directory
        return image
    file.seek(0)
    return SampledTIFF(file)


def page_notes(image: Image.Image) -> list[str]:
    """What was left out of an opened TIFF picture or assumed of it, in sentences."""
    directory: Directory | None = image.info.get("pages")
    notes = list(getattr(image, "notes", ()))
    if directory is not None and directory.other_pages:
        count = f"{directory.other_pages + 1}" if directory.is_counted else "a thousand or more"
        notes.insert(0, f"The TIFF file has {count} pages; the first one is the picture, the others were left out.")
    return notes


class SampledTIFF(ImageFile.ImageFile):
    """A TIFF picture whose samples are worked out here. `notes` is filled by `load`."""

    format = "TIFF"
    format_description = "Samples in strips or tiles"

    def _open(self) -> None:
        file: Any = self.fp
        directory = read_directory(file)
        self._layout = Layout.of(directory.page)
        self._size = (self._layout.width, self._layout.height)
        self._mode = self._layout.mode
        self.notes: list[str] = []
        self.deep: NDArray[np.uint16] | None = None
        """(height, width, channels) from 0 to 65535 once loaded, where colours of their own need more than 8 bits."""
        self.info["pages"] = directory
        if profile := directory.page.data(tags.ICC_PROFILE):
            self.info["icc_profile"] = profile
        if orientation := directory.page.value(tags.ORIENTATION, 1):
            self.getexif()[tags.ORIENTATION] = orientation

    def load(self) -> Any:
        """Decode the samples, once."""
        if self._im is None:
            file: Any = self.fp
            samples = Samples(read_samples(self._layout, file), self._layout.bits, self._layout.sample_format)
            picture, self.notes = to_picture(
                samples,
                self._layout.mode,
                is_inverted=self._layout.photometric == WHITE_IS_ZERO,
                declared_peak=self._layout.declared_peak,
                palette=self._layout.palette,
            )
            if self._has_own_colours:
                self.deep = to_deep(
                    samples,
                    is_inverted=self._layout.photometric == WHITE_IS_ZERO,
                    declared_peak=self._layout.declared_peak,
                )
            if self._layout.dropped_samples:
                self.notes.append("The TIFF file has channels beside colour and transparency; they were left out.")
            self.im = picture.im
        return Image.Image.load(self)

    @property
    def _has_own_colours(self) -> bool:
        has_colours = "icc_profile" in self.info or bool(self._layout.page.fractions(tags.PRIMARIES))
        return has_colours and self._layout.bits > 8 and self._layout.mode in _DEEP_MODES
