"""What has to be known of a JPEG XL file before its reader is asked, which decodes the whole picture as it opens it.

Boxes are walked in the file itself, so that nothing put before the codestream hides it. ISO/IEC 18181-2, clause 9.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from codec.errors import PictureTruncated
from codec.picture.jxl_header import CodestreamHeader, parse

_CODESTREAM = b"\xff\x0a"
_HEAD_BYTES = 1024
"""Holds the codestream's header, unless names of channels were made to fill it."""

_MAX_BOXES = 4096
"""A large picture may come in hundreds of parts; files of millions of empty boxes are nobody's picture."""


@dataclass(frozen=True)
class _Box:
    """`begin` and `end` in bytes of the file, `content` where what is in it begins."""

    kind: bytes
    begin: int
    content: int
    end: int


def header(file: IO[bytes]) -> CodestreamHeader | None:
    """What the codestream says; None when none begins in the file. Raises PictureTruncated as `without_jpeg` does."""
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
    return parse(head[len(_CODESTREAM) :]) if head.startswith(_CODESTREAM) else None


def claimed_size(file: IO[bytes]) -> tuple[int, int] | None:
    """(width, height) that a JPEG XL file claims; else as `header`."""
    found = header(file)
    return None if found is None else (found.width, found.height)


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
