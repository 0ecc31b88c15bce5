"""What has to be known of a JPEG XL file before its reader is asked, which decodes the whole picture as it opens it.

Boxes are walked in the file itself, so that nothing put before the codestream hides it. ISO/IEC 18181-2, clause 9.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from codec.errors import PictureTruncated

_CODESTREAM = b"\xff\x0a"
_HEAD_BYTES = 16
"""The codestream's signature and more than the longest SizeHeader."""

_MAX_BOXES = 4096
"""A large picture may come in hundreds of parts; files of millions of empty boxes are nobody's picture."""

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


@dataclass(frozen=True)
class _Box:
    """`begin` and `end` in bytes of the file, `content` where what is in it begins."""

    kind: bytes
    begin: int
    content: int
    end: int


def claimed_size(file: IO[bytes]) -> tuple[int, int] | None:
    """(width, height) that a JPEG XL file claims; None when no codestream begins in it. Raises PictureTruncated as
    `without_jpeg` does."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if not head.startswith(_CODESTREAM):
        head = b""
        for box in _boxes(file):
            if box.kind in (b"jxlc", b"jxlp"):
                # A part begins with its number.
                content = box.content + (4 if box.kind == b"jxlp" else 0)
                file.seek(content)
                head += file.read(max(0, min(_HEAD_BYTES - len(head), box.end - content)))
            if len(head) == _HEAD_BYTES:
                break
    return _size_in(head[len(_CODESTREAM) :]) if head.startswith(_CODESTREAM) else None


def without_jpeg(file: IO[bytes]) -> IO[bytes]:
    """The file without what rebuilds the JPEG that it was made of, or the same one where there is none.

    The reader would rebuild that JPEG and decode it by whatever opens it, with as many scans as its maker liked; the
    codestream alone gives the same picture. Raises PictureTruncated for a file of thousands of boxes.
    """
    file.seek(0)
    if file.read(len(_CODESTREAM)) == _CODESTREAM:
        return file
    boxes = list(_boxes(file))
    if not any(box.kind == b"jbrd" for box in boxes):
        return file
    kept = io.BytesIO()
    for box in boxes:
        if box.kind != b"jbrd":
            file.seek(box.begin)
            kept.write(file.read(box.end - box.begin))
    return kept


def _boxes(file: IO[bytes]) -> Iterator[_Box]:
    """The boxes of a container up to its end, or to one that is damaged; raises PictureTruncated for too many."""
    size = file.seek(0, os.SEEK_END)
    begin = 0
    for _ in range(_MAX_BOXES):
        file.seek(begin)
        head = file.read(16)
        length, kind, content = int.from_bytes(head[:4], "big"), head[4:8], begin + 8
        if length == 1:
            length, content = int.from_bytes(head[8:16], "big"), begin + 16
        end = size if length == 0 else begin + length
        if len(kind) < 4 or end < content:
            return
        yield _Box(kind, begin, content, min(end, size))
        if end >= size:
            return
        begin = end
    raise PictureTruncated(f"The JPEG XL file has more than {_MAX_BOXES} boxes. Save it again.")


def _size_in(head: bytes) -> tuple[int, int]:
    """The SizeHeader of ISO/IEC 18181-1 (least significant bit first), which follows the codestream's signature."""
    bits = int.from_bytes(head, "little")
    position = 0

    def take(count: int) -> int:
        nonlocal position
        value = bits >> position & ((1 << count) - 1)
        position += count
        return value

    def dimension(is_small: int) -> int:
        return (take(5) + 1) * 8 if is_small else take((9, 13, 18, 30)[take(2)]) + 1

    is_small = take(1)
    height = dimension(is_small)
    ratio = take(3)
    if ratio == 0:
        return dimension(is_small), height
    numerator, denominator = _RATIOS[ratio]
    return height * numerator // denominator, height
