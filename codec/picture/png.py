"""What has to be known of a PNG file before its reader is asked: colour signals, and chunks that it would stumble over.

A text or a profile of megabytes, or a wrong checksum beside the picture's own data, is no reason to refuse a picture.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from codec.picture.colour import Chromaticities, ColourSignal

_SIGNATURE_BYTES = 8
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_MAX_TEXT_BYTES = 64 * 1024
_MAX_PROFILE_READ_BYTES = 512 * 1024
"""What the reader itself is let unpack; it refuses a profile of a megabyte."""
_MAX_PROFILE_BYTES = 16 * 1024 * 1024
_XMP = b"XML:com.adobe.xmp\0\0"
"""Begins the one text that says something of the picture: its orientation. Not compressed."""


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    begin: int
    length: int


@dataclass(frozen=True)
class Chunks:
    """What a walk over the chunks found. `file` has none that the reader stumbles over, and no profile: that is
    `profile`; `key` is the transparent colour by tRNS, `bits` those of a sample."""

    file: IO[bytes]
    signal: ColourSignal | None
    profile: bytes | None
    key: tuple[int, ...] | None
    bits: int


def walk(file: IO[bytes]) -> Chunks:
    """Look at all chunks; damaged critical ones are left to the reader."""
    small: dict[bytes, bytes] = {}
    dropped: list[_Chunk] = []
    chunks = list(_chunks(file))
    for chunk in chunks:
        if not chunk.kind[0] & 0x20 or chunk.kind == b"fdAT":
            if chunk.kind == b"IHDR":
                small[chunk.kind] = _body(file, chunk)
            continue
        if chunk.kind in _TEXTS and chunk.length > _MAX_TEXT_BYTES:
            dropped.append(chunk)
            continue
        if chunk.length > _MAX_PROFILE_BYTES:
            dropped.append(chunk)
            continue
        body = _body(file, chunk)
        is_damaged = zlib.crc32(chunk.kind + body) != _checksum(file, chunk)
        if is_damaged or (chunk.kind in _TEXTS and not body.startswith(_XMP)):
            dropped.append(chunk)
        elif chunk.kind == b"iCCP" and chunk.length > _MAX_PROFILE_READ_BYTES:
            dropped.append(chunk)
            small.setdefault(chunk.kind, body)
        elif chunk.kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"tRNS", b"iCCP"):
            small.setdefault(chunk.kind, body)
    profile = _profile(small[b"iCCP"]) if b"iCCP" in small else None
    if profile is None or len(profile) > _MAX_PROFILE_READ_BYTES:
        dropped += [chunk for chunk in chunks if chunk.kind == b"iCCP" and chunk not in dropped]
    header = small.get(b"IHDR", b"").ljust(13, b"\0")
    dropped.sort(key=lambda chunk: chunk.begin)
    return Chunks(_without(file, chunks, dropped), _signal(small), profile, _key(small, header), header[8])


def _chunks(file: IO[bytes]) -> Iterator[_Chunk]:
    size = file.seek(0, os.SEEK_END)
    begin = _SIGNATURE_BYTES
    while begin + 12 <= size:
        file.seek(begin)
        length, kind = struct.unpack(">L4s", file.read(8))
        if begin + 12 + length > size:
            return
        yield _Chunk(kind, begin, length)
        begin += 12 + length


def _body(file: IO[bytes], chunk: _Chunk) -> bytes:
    file.seek(chunk.begin + 8)
    return file.read(chunk.length)


def _checksum(file: IO[bytes], chunk: _Chunk) -> int:
    file.seek(chunk.begin + 8 + chunk.length)
    return int.from_bytes(file.read(4), "big")


def _without(file: IO[bytes], chunks: list[_Chunk], dropped: list[_Chunk]) -> IO[bytes]:
    if not dropped:
        file.seek(0)
        return file
    kept = io.BytesIO()
    position = 0
    for chunk in dropped:
        file.seek(position)
        kept.write(file.read(chunk.begin - position))
        position = chunk.begin + 12 + chunk.length
    file.seek(position)
    kept.write(file.read())
    kept.seek(0)
    return kept


def _profile(body: bytes) -> bytes | None:
    """The ICC profile; None where it does not decompress or is too large."""
    try:
        decompressor = zlib.decompressobj()
        profile = decompressor.decompress(body[body.index(b"\0") + 2 :], _MAX_PROFILE_BYTES)
    except (ValueError, zlib.error):
        return None
    return profile if decompressor.eof else None


def _signal(small: dict[bytes, bytes]) -> ColourSignal | None:
    """By the rank that the standard (third edition, 4.3) gives: cICP, sRGB, then gAMA and cHRM. A profile that can be
    used comes after cICP, which whoever reads it sees to."""
    if len(cicp := small.get(b"cICP", b"")) == 4:
        return ColourSignal(cicp[0], cicp[1], is_narrow=cicp[3] == 0, outranks_icc=True)
    if b"sRGB" in small:
        return None
    gamma = chromaticities = None
    if len(body := small.get(b"gAMA", b"")) == 4 and (value := int.from_bytes(body, "big")):
        gamma = 100_000 / value
        if abs(gamma - 2.2) < 0.02:
            gamma = None  # how writers have always put sRGB's own curve into this chunk
    if len(body := small.get(b"cHRM", b"")) == 32:
        values: Chromaticities = tuple(value / 100_000 for value in struct.unpack(">8L", body))
        chromaticities = values
    if gamma is None and chromaticities is None:
        return None
    return ColourSignal(gamma=gamma, chromaticities=chromaticities)


def _key(small: dict[bytes, bytes], header: bytes) -> tuple[int, ...] | None:
    body = small.get(b"tRNS", b"")
    count = {0: 1, 2: 3}.get(header[9], 0)
    return struct.unpack(f">{count}H", body) if count and len(body) == 2 * count else None
