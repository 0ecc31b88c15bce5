"""The frame of a `.misc` file: header, numbered sections, checksum. It does not know how a section is coded.

Layout and limits are normative in docs/bitstream.md. Everything here is checked before memory is taken for it.
"""

import zlib
from dataclasses import dataclass

from codec.bitstream.coarse.external import EXTERNAL_MODE, decode_external, encode_external
from codec.bitstream.coarse.net import NET_MODE, decode_net, encode_net
from codec.bitstream.coarse.reference import decode_reference, encode_reference
from codec.bitstream.coding.varint import read_varint, write_varint
from codec.bitstream.grain import decode_grain, encode_grain
from codec.bitstream.maps.payload import decode_maps, encode_maps
from codec.bitstream.pixels.payload import PIXEL_MODE, decode_pixels, encode_pixels
from codec.bitstream.stream import Bits, Coarse, ExternalCoarse, NetCoarse, PixelCoarse, Stream, Texts
from codec.bitstream.text.payload import decode_texts, encode_texts
from codec.errors import (
    StreamCorrupt,
    StreamError,
    StreamLimitExceeded,
    StreamTruncated,
    StreamUnsupported,
)
from codec.limits import MAX_PIXELS, MAX_SIDE_PX, MAX_STREAM_BYTES

MAGIC = b"\x8dMI"
"""The first byte is no ASCII, so that a transfer that mangles eight-bit bytes is noticed at once."""

VERSION = 1

_CHECKSUM_BYTES = 4
_DIGEST_BYTES = 4
_FLAG_COARSE_NETWORK, _FLAG_RESTORER_NETWORK = 1, 2
_PROFILE_SHIFT = 2
_PROFILES = ("lite", "sd21")

_TEXT, _MAPS, _COARSE, _GRAIN = 1, 2, 3, 8
_FIRST_ANCILLARY, _LAST_ANCILLARY = 8, 14
_REFERENCE_MODE = 1
_MODE_MASK = 3


@dataclass(frozen=True)
class Packed:
    """A stream as bytes, and where its bits went."""

    data: bytes
    bits: Bits


@dataclass(frozen=True)
class Unpacked:
    """What a file holds, and where its bits went."""

    stream: Stream
    bits: Bits


def pack(stream: Stream) -> Packed:
    """Write a stream as one `.misc` file.

    Raises StreamLimitExceeded for a size beyond codec/limits.py, other StreamError children for values that the
    format cannot hold, and TextError for texts that cannot be stored.
    """
    _check_size(stream.width, stream.height)
    texts = encode_texts(stream.texts) if stream.texts != Texts() else b""
    maps = encode_maps(stream.maps) if stream.maps is not None else b""
    coarse = _encode_coarse(stream)
    out = bytearray(_header(stream))
    payloads = ((_TEXT, texts), (_MAPS, maps), (_COARSE, coarse), (_GRAIN, encode_grain(stream.grain)))
    *sections, last = [(number, payload) for number, payload in payloads if payload]
    for number, payload in sections:
        out += write_varint(len(payload) << 4 | number) + payload
    number, payload = last
    out += write_varint(number) + payload
    out += zlib.crc32(out).to_bytes(_CHECKSUM_BYTES, "little")
    if len(out) > MAX_STREAM_BYTES:
        raise StreamLimitExceeded(f"The stream would have {len(out)} bytes; {MAX_STREAM_BYTES} are allowed.")
    return Packed(bytes(out), _bits(len(out), texts, maps, coarse))


def unpack(data: bytes) -> Unpacked:
    """Read a `.misc` file. For any bytes at all it returns or raises a child of StreamError, nothing else.

    StreamError: no `.misc` file. StreamTruncated: it ends early. StreamCorrupt: the checksum or a payload
    contradicts it. StreamUnsupported: made by a newer version. StreamLimitExceeded: it claims too much.
    """
    if len(data) > MAX_STREAM_BYTES:
        raise StreamLimitExceeded(f"The stream has {len(data)} bytes; {MAX_STREAM_BYTES} are allowed.")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise StreamError("This is not a .misc stream: its first bytes are others.")
    if len(data) <= len(MAGIC) + 1 + _CHECKSUM_BYTES:
        raise StreamTruncated(f"A .misc stream cannot be as short as {len(data)} bytes.")
    version = data[len(MAGIC)] >> 4
    if version != VERSION:
        raise StreamUnsupported(f"The stream has format version {version}; this program reads {VERSION}.")
    end = len(data) - _CHECKSUM_BYTES
    is_intact = zlib.crc32(memoryview(data)[:end]) == int.from_bytes(data[end:], "little")
    try:
        header, sections = _read_frame(data, end)
    except StreamTruncated:
        raise
    except StreamError:
        if is_intact:
            raise
        raise StreamCorrupt("The checksum does not hold: the stream was damaged or cut short.") from None
    if not is_intact:
        raise StreamCorrupt("The checksum does not hold: the stream was damaged or cut short.")
    return _read_sections(len(data), header, sections)


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    profile: str
    coarse_network: bytes | None
    restorer_network: bytes | None


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise StreamCorrupt(f"A picture of {width}x{height} pixels has no pixel.")
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise StreamLimitExceeded(
            f"A picture of {width}x{height} pixels is beyond the limits of {MAX_SIDE_PX} a side and "
            f"{MAX_PIXELS} in all."
        )


def _header(stream: Stream) -> bytes:
    if stream.profile not in _PROFILES:
        raise StreamUnsupported(f"The format has no profile {stream.profile!r}; known: {', '.join(_PROFILES)}.")
    flags = _PROFILES.index(stream.profile) << _PROFILE_SHIFT
    digests = b""
    for flag, digest in (
        (_FLAG_COARSE_NETWORK, stream.coarse_network),
        (_FLAG_RESTORER_NETWORK, stream.restorer_network),
    ):
        if digest is None:
            continue
        if len(digest) != _DIGEST_BYTES:
            raise StreamError(f"A network's digest prefix must have {_DIGEST_BYTES} bytes, not {len(digest)}.")
        flags |= flag
        digests += digest
    size = write_varint(stream.width) + write_varint(stream.height)
    return MAGIC + bytes((VERSION << 4 | flags,)) + size + digests


def _read_frame(data: bytes, end: int) -> tuple[_Header, dict[int, bytes]]:
    """The header and the payloads of all sections by number, in bytes up to `end`."""
    flags = data[len(MAGIC)] & 0x0F
    width, position = read_varint(data, len(MAGIC) + 1, end)
    height, position = read_varint(data, position, end)
    _check_size(width, height)
    if flags >> _PROFILE_SHIFT >= len(_PROFILES):
        raise StreamUnsupported("The stream was made with a profile that this program does not know.")
    digests: list[bytes | None] = [None, None]
    for index, flag in enumerate((_FLAG_COARSE_NETWORK, _FLAG_RESTORER_NETWORK)):
        if flags & flag:
            if position + _DIGEST_BYTES > end:
                raise StreamTruncated("The stream ends inside a network's digest.")
            digests[index] = data[position : position + _DIGEST_BYTES]
            position += _DIGEST_BYTES
    header = _Header(width, height, _PROFILES[flags >> _PROFILE_SHIFT], digests[0], digests[1])
    return header, _split_sections(data, position, end)


def _split_sections(data: bytes, position: int, end: int) -> dict[int, bytes]:
    """Cut the bytes in [position, end) into sections. Raises StreamTruncated when the last one is not there."""
    sections: dict[int, bytes] = {}
    previous = 0
    is_last = False
    while not is_last:
        if position >= end:
            raise StreamTruncated("The stream ends before its last section.")
        head, position = read_varint(data, position, end)
        number, length = head & 0x0F, head >> 4
        if number <= previous:
            raise StreamCorrupt("The sections of the stream are out of order.")
        if number > _COARSE and not _FIRST_ANCILLARY <= number <= _LAST_ANCILLARY:
            raise StreamUnsupported(f"The stream has a section {number} that this program must know but does not.")
        is_last = length == 0
        stop = end if is_last else position + length
        if stop > end:
            raise StreamTruncated(f"Section {number} announces {length} bytes; {end - position} are left.")
        if stop == position:
            raise StreamTruncated(f"Section {number} is empty.")
        sections[number] = data[position:stop]
        previous, position = number, stop
    if _COARSE not in sections:
        raise StreamCorrupt("The stream has no coarse picture.")
    return sections


def _read_sections(length: int, header: _Header, sections: dict[int, bytes]) -> Unpacked:
    texts, maps, coarse = sections.get(_TEXT, b""), sections.get(_MAPS, b""), sections[_COARSE]
    if coarse[0] & _MODE_MASK == NET_MODE and header.coarse_network is None:
        raise StreamCorrupt("The coarse picture is a learned codec's, but the stream does not say which one's.")
    stream = Stream(
        width=header.width,
        height=header.height,
        coarse=_decode_coarse(coarse, header.width, header.height),
        texts=decode_texts(texts) if texts else Texts(),
        maps=decode_maps(maps) if maps else None,
        profile=header.profile,
        coarse_network=header.coarse_network,
        restorer_network=header.restorer_network,
        grain=decode_grain(sections[_GRAIN]) if _GRAIN in sections else 0.0,
    )
    return Unpacked(stream, _bits(length, texts, maps, coarse))


def _encode_coarse(stream: Stream) -> bytes:
    coarse = stream.coarse
    if isinstance(coarse, PixelCoarse):
        return encode_pixels(coarse, stream.width, stream.height)
    if isinstance(coarse, ExternalCoarse):
        return encode_external(coarse)
    if isinstance(coarse, NetCoarse):
        if stream.coarse_network is None:
            raise StreamError("A coarse picture of a learned codec needs the digest of its network.")
        return encode_net(coarse)
    return encode_reference(coarse, stream.width, stream.height)


def _decode_coarse(payload: bytes, width: int, height: int) -> Coarse:
    mode = payload[0] & _MODE_MASK
    if mode == PIXEL_MODE:
        return decode_pixels(payload, width, height)
    if mode == _REFERENCE_MODE:
        return decode_reference(payload, width, height)
    if mode == EXTERNAL_MODE:
        return decode_external(payload)
    assert mode == NET_MODE, "two bits have four values"
    return decode_net(payload)


def _bits(length: int, texts: bytes, maps: bytes, coarse: bytes) -> Bits:
    """Payloads count as what they are; all the rest, ancillary sections included, is container."""
    payload = len(texts) + len(maps) + len(coarse)
    return Bits(8 * (length - payload), 8 * len(texts), 8 * len(maps), 8 * len(coarse))
