"""AVIF: all boxes and the sequence header go, about 300 bytes; what stays is the AV1 frame.

Layout: ISO/IEC 23008-12 (items), the AV1 bitstream specification sections 5.3 and 5.5 (OBUs, sequence header) and
the AV1 ISO media binding (av1C). Only still pictures with a reduced header are read: in those a frame cannot
override the sequence's size, so the size that is checked here is the size that a decoder allocates.
"""

from dataclasses import dataclass

from codec.bitstream.coding.bits import BitReader, BitWriter
from codec.bitstream.coding.varint import read_varint, write_varint
from codec.errors import StreamCorrupt, StreamError, StreamTruncated, StreamUnsupported

_OBU_SEQUENCE_HEADER, _OBU_TEMPORAL_DELIMITER, _OBU_FRAME, _OBU_PADDING = 1, 2, 6, 15
_CANONICAL, _OWN_SEQUENCE_HEADER = 0, 1

_LEVEL = 31
"""seq_level_idx "no level": which limits a stream keeps to is of no use here, and it varies with the encoder."""

_COLOUR = 0b0_0_1_00000001_00001101_00000110_1_00
"""8 bits, colour, described: BT.709 primaries, sRGB transfer, BT.601 matrix, full range, unknown siting."""
_COLOUR_BITS = 30
_TOOL_BITS = 6


@dataclass(frozen=True)
class _Sequence:
    """What the frame's syntax depends on. `tools`: six enable flags in the order of the header."""

    width: int
    height: int
    tools: int
    separate_uv_delta_q: int
    film_grain: int
    is_canonical: bool


def strip(file: bytes, width: int, height: int) -> tuple[int, bytes]:
    """Canonical variant: one byte of tool flags, then the frame. Other variant: sequence header, then the frame."""
    sequence_obu, frame = None, None
    for kind, payload in _obus(_media_data(file)):
        if kind == _OBU_SEQUENCE_HEADER and sequence_obu is None:
            sequence_obu = payload
        elif kind == _OBU_FRAME and frame is None:
            frame = payload
        elif kind not in (_OBU_TEMPORAL_DELIMITER, _OBU_PADDING):
            raise StreamUnsupported("The AVIF file holds more than one still frame.")
    if sequence_obu is None or frame is None:
        raise StreamUnsupported("The AVIF file holds no AV1 frame in one piece.")
    sequence = _parse_sequence(sequence_obu)
    if (sequence.width, sequence.height) != (width, height):
        raise StreamUnsupported("The AVIF file has another size than the coarse picture.")
    if sequence.is_canonical:
        flags = sequence.tools << 2 | sequence.separate_uv_delta_q << 1 | sequence.film_grain
        return _CANONICAL, bytes((flags,)) + frame
    return _OWN_SEQUENCE_HEADER, write_varint(len(sequence_obu)) + sequence_obu + frame


def rebuild(variant: int, body: bytes, width: int, height: int) -> bytes:
    """An AVIF file of exactly width x height pixels."""
    if variant == _CANONICAL:
        if len(body) < 2:
            raise StreamTruncated("The AVIF frame is missing.")
        sequence_obu, frame = _write_sequence(body[0], width, height), body[1:]
    elif variant == _OWN_SEQUENCE_HEADER:
        length, position = read_varint(body, 0, len(body))
        sequence_obu, frame = body[position : position + length], body[position + length :]
        if not frame:
            raise StreamTruncated("The AVIF frame is missing.")
        sequence = _parse_sequence(sequence_obu)
        if (sequence.width, sequence.height) != (width, height):
            raise StreamCorrupt("The AVIF picture has another size than the stream says.")
    else:
        raise StreamUnsupported("The AVIF picture is stored in a way that this version does not know.")
    data = _obu(_OBU_SEQUENCE_HEADER, sequence_obu) + _obu(_OBU_FRAME, frame)
    return _wrap(data, width, height)


def _obu(kind: int, payload: bytes) -> bytes:
    return bytes((kind << 3 | 2,)) + write_varint(len(payload)) + payload


def _obus(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and payload of each OBU; sizes in AV1 are written like this format's varints."""
    found = []
    position = 0
    while position < len(data):
        head = data[position]
        if head & 0b1000_0101 or not head & 0b10:
            raise StreamUnsupported("The AVIF file holds layered or unsized AV1 data.")
        length, position = read_varint(data, position + 1, len(data))
        if position + length > len(data):
            raise StreamTruncated("The AVIF file ends inside its AV1 data.")
        found.append((head >> 3 & 15, data[position : position + length]))
        position += length
    return found


def _media_data(file: bytes) -> bytes:
    position = 0
    while position + 8 <= len(file):
        length, kind = int.from_bytes(file[position : position + 4], "big"), file[position + 4 : position + 8]
        if length < 8:
            break
        if kind == b"mdat":
            return file[position + 8 : position + length]
        position += length
    raise StreamUnsupported("The AVIF file has no media data where it is expected.")


def _parse_sequence(obu: bytes) -> _Sequence:
    """Read a sequence header of a reduced still picture, profile 0; others are StreamUnsupported."""
    bits = BitReader(obu)
    profile, is_still, is_reduced = bits.read(3), bits.read(1), bits.read(1)
    if profile != 0 or not is_still or not is_reduced:
        raise StreamUnsupported("The AVIF file is no 4:2:0 still picture with a reduced header.")
    bits.read(5)  # level
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    tools = bits.read(_TOOL_BITS)
    try:
        is_canonical = bits.read(_COLOUR_BITS) == _COLOUR
        separate_uv_delta_q, film_grain = bits.read(1), bits.read(1)
    except StreamError:
        is_canonical, separate_uv_delta_q, film_grain = False, 0, 0
    return _Sequence(width, height, tools, separate_uv_delta_q, film_grain, is_canonical)


def _write_sequence(flags: int, width: int, height: int) -> bytes:
    bits = BitWriter()
    bits.write(0b00011, 5)  # profile 0, still picture, reduced header
    bits.write(_LEVEL, 5)
    sizes = [(side - 1, max(1, (side - 1).bit_length())) for side in (width, height)]
    for _, count in sizes:
        bits.write(count - 1, 4)
    for value, count in sizes:
        bits.write(value, count)
    bits.write(flags >> 2, _TOOL_BITS)
    bits.write(_COLOUR, _COLOUR_BITS)
    bits.write(flags, 2)
    bits.write(1, 1)  # trailing one bit
    return bits.to_bytes()


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def _full_box(kind: bytes, *parts: bytes) -> bytes:
    return _box(kind, b"\0\0\0\0", *parts)


def _wrap(data: bytes, width: int, height: int) -> bytes:
    """The smallest common set of boxes around one AV1 still picture."""
    ftyp = _box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    head, tail = _meta(len(data), 0, width, height), _box(b"mdat", data)
    offset = len(ftyp) + len(head) + len(tail) - len(data)
    return ftyp + _meta(len(data), offset, width, height) + tail


def _meta(length: int, offset: int, width: int, height: int) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    properties = (
        _full_box(b"ispe", size),
        _full_box(b"pixi", b"\x03\x08\x08\x08"),
        _box(b"av1C", bytes((0x81, _LEVEL, 0b0000_1100, 0))),
        _box(b"colr", b"nclx", bytes((0, 1, 0, 13, 0, 6, 0x80))),
    )
    location = (
        b"\x44\x00" + b"\0\x01" + b"\0\x01\0\0" + b"\0\x01" + offset.to_bytes(4, "big") + length.to_bytes(4, "big")
    )
    entry = _box(b"infe", b"\x02\0\0\0", b"\0\x01\0\0av01\0")
    return _full_box(
        b"meta",
        _full_box(b"hdlr", b"\0\0\0\0pict", b"\0" * 13),
        _full_box(b"pitm", b"\0\x01"),
        _full_box(b"iloc", location),
        _full_box(b"iinf", b"\0\x01", entry),
        _box(
            b"iprp",
            _box(b"ipco", *properties),
            _full_box(b"ipma", b"\0\0\0\x01\0\x01\x04\x01\x02\x83\x04"),
        ),
    )
