"""What a TIFF file says of its picture: the tags of the pages, and which page is the picture. Decodes no sample.

TIFF 6.0 (1992) and BigTIFF. Every count is compared with the file's size before anything of that size is read.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from codec.errors import PictureTooCostly, PictureTruncated, PictureUnsupported

_MAX_TAGS = 4096
_MAX_VALUES = 1 << 20
"""Numbers of one tag, bytes of one profile excepted; a picture of 100 megapixels in tiles of 16x16 has fewer tiles."""

_MAX_PAGES = 1000
"""More pages are not counted; the note says so."""

_TYPE_CODES = {
    1: "B",
    2: "c",
    3: "H",
    4: "L",
    5: "2L",
    6: "b",
    7: "c",
    8: "h",
    9: "l",
    10: "2l",
    11: "f",
    12: "d",
    13: "L",
    16: "Q",
    17: "q",
    18: "Q",
}
"""`struct` codes of the field types."""

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 273, 274, 277, 278, 279
MAX_SAMPLE, PLANAR, PREDICTOR, WHITE_POINT, PRIMARIES, COLOUR_MAP = 281, 284, 317, 318, 319, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_PAGES, INK_SET = 322, 323, 324, 325, 330, 332
EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING, ICC_PROFILE, DNG_VERSION = 338, 339, 530, 34675, 50706

_REDUCED, _MASK = 1, 4
"""Bits of the subfile type: a thumbnail of another page, a transparency mask."""

REMEDY = "Convert it to PNG."


@dataclass(frozen=True)
class Page:
    """One image file directory: its tags, read when they are asked for."""

    number: int
    byte_order: str
    entries: dict[int, tuple[int, int, bytes]] = field(repr=False)
    read: Callable[[int, int], bytes] = field(repr=False)

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; () where it is missing. Raises PictureTruncated where it cannot be read."""
        numbers = self._values(tag)
        return tuple(int(number) for number in numbers if not isinstance(number, bytes))

    def value(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        numbers = self.values(tag)
        return numbers[0] if numbers else default

    def fractions(self, tag: int) -> tuple[float, ...]:
        """The values of a tag of rational numbers."""
        kind = self.entries.get(tag, (0, 0, b""))[0]
        numbers = [float(number) for number in self._values(tag) if not isinstance(number, bytes)]
        if kind not in (5, 10):
            return tuple(numbers)
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return tuple(above / below if below else 0.0 for above, below in pairs)

    def data(self, tag: int) -> bytes:
        """The bytes of a tag; b"" where it is missing."""
        if tag not in self.entries:
            return b""
        kind, count, inline = self.entries[tag]
        size = count * struct.calcsize("=" + _TYPE_CODES.get(kind, "c"))
        if size <= len(inline):
            return inline[:size]
        offset = int.from_bytes(inline, "little" if self.byte_order == "<" else "big")
        return self.read(offset, size)

    def _values(self, tag: int) -> tuple[int | float | bytes, ...]:
        kind, count, _ = self.entries.get(tag, (1, 0, b""))
        if count > _MAX_VALUES:
            raise PictureTooCostly("A tag of the TIFF file claims millions of numbers. Save the picture again as PNG.")
        code = _TYPE_CODES.get(kind, "c")
        whole = f"{count * int(code[0])}{code[1]}" if len(code) > 1 else f"{count}{code}"
        return struct.unpack(self.byte_order + whole, self.data(tag))


@dataclass(frozen=True)
class Directory:
    """The page that is the file's picture, and how many others are in the file beside its thumbnails and masks."""

    page: Page
    other_pages: int
    is_counted: bool


def read_directory(file: IO[bytes]) -> Directory:
    """The picture's page. Raises PictureTruncated, and PictureUnsupported for a camera's raw file."""
    size = file.seek(0, os.SEEK_END)

    def read(offset: int, count: int) -> bytes:
        if offset < 0 or count < 0 or offset + count > size:
            raise PictureTruncated(
                "The TIFF file ends before what its header points to. Send the complete original file."
            )
        file.seek(offset)
        return file.read(count)

    head = read(0, 8)
    order = "<" if head[:2] == b"II" else ">"
    is_big = struct.unpack(order + "H", head[2:4])[0] == 43
    (offset,) = struct.unpack(order + "Q", read(8, 8)) if is_big else struct.unpack(order + "L", head[4:])
    pages: list[Page] = []
    seen: set[int] = set()
    while offset and offset not in seen and len(pages) < _MAX_PAGES:
        seen.add(offset)
        try:
            page, offset = _read_page(len(pages), offset, order, is_big, read)
        except PictureTruncated:
            if not pages:
                raise
            break
        pages.append(page)
    if not pages:
        raise PictureTruncated("The TIFF file has no page. Send the complete original file.")
    first = pages[0]
    if head[:2] + read(8, 2) == b"IICR" or first.entries.keys() & {DNG_VERSION} or _is_preview_of_raw(first):
        raise PictureUnsupported(f"The file is a camera's raw file in a TIFF container. Develop it. {REMEDY}")
    pictures = [page for page in pages if not page.value(SUBFILE_TYPE, 0) & (_REDUCED | _MASK)] or [first]
    return Directory(pictures[0], len(pictures) - 1, not offset or offset in seen)


def _is_preview_of_raw(page: Page) -> bool:
    return bool(page.value(SUBFILE_TYPE, 0) & _REDUCED) and SUB_PAGES in page.entries


def _read_page(
    number: int, offset: int, order: str, is_big: bool, read: Callable[[int, int], bytes]
) -> tuple[Page, int]:
    """One page, and where the next begins; 0 after the last."""
    count_bytes, entry_bytes, link_bytes = (8, 20, 8) if is_big else (2, 12, 4)
    (count,) = struct.unpack(order + ("Q" if is_big else "H"), read(offset, count_bytes))
    if count > _MAX_TAGS:
        raise PictureTruncated("The TIFF file claims thousands of tags. It is damaged.")
    table = read(offset + count_bytes, count * entry_bytes)
    entries: dict[int, tuple[int, int, bytes]] = {}
    for at in range(0, len(table), entry_bytes):
        tag, kind, values = struct.unpack_from(order + ("HHQ" if is_big else "HHL"), table, at)
        entries.setdefault(tag, (kind, values, table[at + entry_bytes - link_bytes : at + entry_bytes]))
    try:
        link = read(offset + count_bytes + len(table), link_bytes)
    except PictureTruncated:
        link = bytes(link_bytes)  # some writers leave out the link that says that nothing follows
    return Page(number, order, entries, read), struct.unpack(order + ("Q" if is_big else "L"), link)[0]
