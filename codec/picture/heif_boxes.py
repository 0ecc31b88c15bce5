"""Colour and depth that an AVIF or HEIC file tells in its boxes (ISO/IEC 23008-12, 14496-12). It decodes nothing."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from codec.picture.colour import ColourSignal
from codec.picture.video_headers import av1_signal, hevc_signal

_MAX_META_BYTES = 4 * 1024 * 1024
_MAX_BOXES = 4096
_SEQUENCE_HEADER_BYTES = 256


@dataclass(frozen=True)
class ItemProperties:
    """`signal` of an `nclx` box, else of the coded video, which an ICC profile outranks; `bits` a channel of AVIF."""

    signal: ColourSignal | None = None
    bits: int = 8


def properties_of(file: IO[bytes]) -> ItemProperties:
    """What the primary item says, else what any item does."""
    meta = _meta(file)
    if meta is None:
        return ItemProperties()
    boxes = dict(boxes_in(meta[4:]))
    item_properties = dict(boxes_in(boxes.get(b"iprp", b"")))
    properties = list(boxes_in(item_properties.get(b"ipco", b"")))
    wanted = _properties_of(_primary(boxes.get(b"pitm", b"")), item_properties.get(b"ipma", b""))
    found = [properties[index - 1] for index in wanted if 0 < index <= len(properties)] + properties
    colours = (body for kind, body in found if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 11)
    signal = next((ColourSignal(*struct.unpack(">HH", body[4:8])) for body in colours), None)
    if signal is None:
        signal = next(filter(None, (hevc_signal(body) for kind, body in found if kind == b"hvcC")), None)
    if signal is None and any(kind == b"av1C" for kind, _ in found):
        # The first that says anything: the picture, a tile of it, or what is beside it.
        begins = _beginnings(file, boxes.get(b"iloc", b""), _primary(boxes.get(b"pitm", b"")))
        signal = next(filter(None, map(av1_signal, begins)), None)
    depths = (body[2] for kind, body in found if kind == b"av1C" and len(body) > 2)
    return ItemProperties(signal, next((_AV1_BITS[depth >> 5 & 3] for depth in depths), 8))


_AV1_BITS = (8, 8, 10, 12)
"""By the flags of more than 8 bits, and of 12."""


def _meta(file: IO[bytes]) -> bytes | None:
    """The body of the file's `meta` box."""
    begin, size = 0, file.seek(0, os.SEEK_END)
    for _ in range(_MAX_BOXES):
        head = _read_at(file, begin, size, 16)
        if len(head) < 8:
            return None
        length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = size - begin
        if length < start:
            return None
        if kind == b"meta":
            return _read_at(file, begin + start, size, min(length - start, _MAX_META_BYTES))
        begin += length
    return None


def _read_at(file: IO[bytes], place: int, size: int, count: int) -> bytes:
    """So many bytes of a file of `size`, fewer at its end; none at a place beyond, where a file may not even seek."""
    if place >= size:
        return b""
    file.seek(place)
    return file.read(count)


def boxes_in(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each box in `data`, up to one that is cut off."""
    begin = 0
    for _ in range(_MAX_BOXES):
        length, kind = int.from_bytes(data[begin : begin + 4], "big"), data[begin + 4 : begin + 8]
        if length < 8 or begin + length > len(data):
            return
        yield kind, data[begin + 8 : begin + length]
        begin += length


def _beginnings(file: IO[bytes], iloc: bytes, first: int) -> Iterator[bytes]:
    """The first bytes of each item that lies in the file by itself, those of the item `first` before others."""
    size = file.seek(0, os.SEEK_END)
    places = sorted(_places(iloc), key=lambda entry: entry[0] != first)
    yield from (_read_at(file, place, size, _SEQUENCE_HEADER_BYTES) for _, place in places)


def _places(iloc: bytes) -> Iterator[tuple[int, int]]:
    """Number and place in the file of items, as `iloc` has them."""
    if len(iloc) < 8:
        return
    version = iloc[0]
    offset_bytes, length_bytes, base_bytes, index_bytes = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15
    number_bytes = 4 if version == 2 else 2
    fields = _Fields(iloc, 6)
    for _ in range(min(fields.take(number_bytes), _MAX_BOXES)):
        item = fields.take(number_bytes)
        is_elsewhere = bool(fields.take(2) & 15) if version else False
        fields.take(2)
        base = fields.take(base_bytes)
        places = []
        for _ in range(min(fields.take(2), _MAX_BOXES)):
            if version:
                fields.take(index_bytes)
            places.append(base + fields.take(offset_bytes))
            fields.take(length_bytes)
        if places and not is_elsewhere:
            yield item, places[0]


class _Fields:
    """Numbers one after the other; beyond the end there are zeros."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, count: int) -> int:
        self._at += count
        return int.from_bytes(self._data[self._at - count : self._at], "big")


def _primary(pitm: bytes) -> int:
    return int.from_bytes(pitm[4:8] if pitm[:1] == b"\1" else pitm[4:6], "big")


def _properties_of(item: int, ipma: bytes) -> list[int]:
    """Numbers, from 1, of an item's properties."""
    if len(ipma) < 8:
        return []
    item_bytes, index_bytes = (4 if ipma[0] else 2), (2 if ipma[3] & 1 else 1)
    mask = 0x7FFF if index_bytes == 2 else 0x7F
    at = 8
    for _ in range(min(int.from_bytes(ipma[4:8], "big"), _MAX_BOXES)):
        number = int.from_bytes(ipma[at : at + item_bytes], "big")
        count = int.from_bytes(ipma[at + item_bytes : at + item_bytes + 1], "big")
        at += item_bytes + 1
        if number == item:
            ends = range(at, at + count * index_bytes, index_bytes)
            return [int.from_bytes(ipma[end : end + index_bytes], "big") & mask for end in ends]
        at += count * index_bytes
    return []
