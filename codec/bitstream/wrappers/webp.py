"""WebP: the RIFF heads, the key frame's start code and its size go; the size of the first partition stays.

Layout: RFC 6386 section 9.1 (frame tag and start code) and the WebP container specification.
"""

from codec.bitstream.coding.varint import read_varint, write_varint
from codec.errors import StreamCorrupt, StreamTruncated, StreamUnsupported

_START_CODE = b"\x9d\x01\x2a"
_HEAD_BYTES = 10
_MAX_SIDE_PX = 16_383
_MAX_FIRST_PARTITION = (1 << 19) - 1


def strip(file: bytes, width: int, height: int) -> tuple[int, bytes]:
    """Variant: the VP8 version. Body: size of the first partition as a varint, then the frame behind its head."""
    if file[:4] != b"RIFF" or file[8:16] != b"WEBPVP8 " or len(file) < 20 + _HEAD_BYTES:
        raise StreamUnsupported("Only simple lossy WebP files can be a coarse picture.")
    length = int.from_bytes(file[16:20], "little")
    frame = file[20 : 20 + length]
    tag = int.from_bytes(frame[:3], "little")
    version, first_partition = tag >> 1 & 7, tag >> 5
    if frame != _head(version, first_partition, width, height) + frame[_HEAD_BYTES:] or version > 3:
        raise StreamUnsupported("The WebP file's frame head is not one that can be rebuilt.")
    return version, write_varint(first_partition) + frame[_HEAD_BYTES:]


def rebuild(variant: int, body: bytes, width: int, height: int) -> bytes:
    """A simple WebP file of exactly width x height pixels."""
    if max(width, height) > _MAX_SIDE_PX:
        raise StreamCorrupt(f"WebP cannot hold a picture of {width}x{height} pixels.")
    first_partition, position = read_varint(body, 0, len(body))
    if first_partition > min(_MAX_FIRST_PARTITION, len(body) - position):
        raise StreamTruncated("The WebP frame is shorter than its first partition.")
    frame = _head(variant, first_partition, width, height) + body[position:]
    chunk = b"VP8 " + len(frame).to_bytes(4, "little") + frame + b"\0" * (len(frame) & 1)
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def _head(version: int, first_partition: int, width: int, height: int) -> bytes:
    """Frame tag of a shown key frame, start code, and the size without upscaling hints."""
    tag = first_partition << 5 | 1 << 4 | version << 1
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return tag.to_bytes(3, "little") + _START_CODE + size
