"""Ways to damage bytes, and to damage a `.misc` file with its structure in mind. Every choice is drawn from a seed."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codec.bitstream.coding.varint import read_varint, write_varint
from codec.bitstream.container import MAGIC

Mutation = Callable[[random.Random, bytearray], None]

_CHECKSUM_BYTES = 4
_DIGEST_BYTES = 4
_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 65_535, 65_536, 10**8, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62)
"""Where fields end, and beyond what is allowed."""


def flip_bits(rng: random.Random, body: bytearray) -> None:
    """One to eight bits anywhere."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def flip_bits_early(rng: random.Random, body: bytearray) -> None:
    """Bits where sizes and kinds stand."""
    for _ in range(rng.choice((1, 2, 3))):
        body[rng.randrange(min(24, len(body)))] ^= 1 << rng.randrange(8)


def cut(rng: random.Random, body: bytearray) -> None:
    """Its end is not there."""
    del body[rng.randrange(len(body)) :]


def cut_out(rng: random.Random, body: bytearray) -> None:
    """Some bytes in the middle are not there."""
    start = rng.randrange(len(body))
    del body[start : start + rng.randint(1, 6)]


def lie_about_a_number(rng: random.Random, body: bytearray) -> None:
    """A number of any size where a size, a section head or a payload's own length may stand."""
    at = rng.randrange(max(1, min(20, len(body))))
    body[at : at + rng.randint(0, 2)] = write_varint(rng.choice((*_NUMBERS, rng.getrandbits(20))))


def lie_about_a_field(rng: random.Random, body: bytearray) -> None:
    """A number of fixed width, either byte first, anywhere."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(max(1, len(body) - width + 1))
    number = rng.choice((*_NUMBERS, rng.getrandbits(8 * width))) % (1 << 8 * width)
    body[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))


def overwrite(rng: random.Random, body: bytearray) -> None:
    """A run of the same byte."""
    start, length = rng.randrange(len(body)), rng.randint(1, 12)
    body[start : start + length] = rng.choice((b"\0", b"\xff", b"\x80")) * length


def insert(rng: random.Random, body: bytearray) -> None:
    """Noise in between."""
    at = rng.randrange(len(body) + 1)
    body[at:at] = rng.randbytes(rng.randint(1, 40))


def repeat(rng: random.Random, body: bytearray) -> None:
    """A piece a second time, or many times."""
    start = rng.randrange(len(body))
    piece = body[start : start + rng.randint(1, 64)]
    body[start:start] = piece * rng.choice((1, 1, 2, 50))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits_early, cut, cut_out, lie_about_a_number, lie_about_a_field, overwrite, insert, repeat,
)  # fmt: skip


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to three kinds of damage, which may leave none of them."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if body:
            rng.choice(MUTATIONS)(rng, body)
    return bytes(body)


def spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: rng.randrange(1, len(data))] + other[rng.randrange(len(other)) :]


@dataclass(frozen=True)
class Parts:
    """A `.misc` file taken apart: the byte of version and flags, width and height, digests, sections by number."""

    flags: int
    width: int
    height: int
    digests: bytes
    sections: tuple[tuple[int, bytes], ...]


def take_apart(data: bytes) -> Parts:
    """The parts of a whole stream; raises StreamError children for one that is not."""
    end, position = len(data) - _CHECKSUM_BYTES, len(MAGIC) + 1
    flags = data[len(MAGIC)]
    width, position = read_varint(data, position, end)
    height, position = read_varint(data, position, end)
    digests = data[position : position + _DIGEST_BYTES * (flags & 3).bit_count()]
    position += len(digests)
    sections: list[tuple[int, bytes]] = []
    while position < end:
        head, position = read_varint(data, position, end)
        stop = position + (head >> 4) if head >> 4 else end
        sections.append((head & 0x0F, data[position:stop]))
        position = stop
    return Parts(flags, width, height, digests, tuple(sections))


def put_together(parts: Parts) -> bytes:
    """The file of these parts with right lengths, its checksum left out."""
    out = bytearray(MAGIC + bytes((parts.flags,)) + write_varint(parts.width) + write_varint(parts.height))
    out += parts.digests
    for index, (number, payload) in enumerate(parts.sections):
        is_last = index == len(parts.sections) - 1
        out += write_varint((0 if is_last else len(payload)) << 4 | number) + payload
    return bytes(out)


def damaged_stream(rng: random.Random, seeds: Sequence[bytes], seed: bytes) -> bytes:
    """A relative of `seed`, whose checksum is not there yet: half damaged as bytes, half part by part."""
    if rng.random() < 0.5:
        body = seed[:-_CHECKSUM_BYTES]
        return spliced(rng, body, rng.choice(seeds)[:-_CHECKSUM_BYTES]) if rng.random() < 0.1 else damaged(rng, body)
    return put_together(_damaged_parts(rng, take_apart(seed), take_apart(rng.choice(seeds))))


def sealed(body: bytes) -> bytes:
    """The body with the checksum that it should have."""
    return body + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little")


def _damaged_parts(rng: random.Random, parts: Parts, other: Parts) -> Parts:
    flags, width, height, sections = parts.flags, parts.width, parts.height, list(parts.sections)
    match rng.randrange(8):
        case 0:
            width, height = rng.choice((1, width, 65_535)), rng.choice((1, height, 1_525, 65_535))
        case 1:
            width, height = rng.randint(1, 2_000), rng.randint(1, 1_000)
        case 2:
            flags ^= 1 << rng.randrange(4)
        case 3:
            sections.insert(rng.randrange(len(sections) + 1), rng.choice(other.sections))
        case 4:
            number = rng.choice((rng.randrange(16), rng.randrange(8, 15)))
            sections.insert(rng.randrange(len(sections)), (number, rng.randbytes(rng.randint(1, 30))))
        case 5:
            sections.pop(rng.randrange(len(sections)))
        case _:
            at = rng.randrange(len(sections))
            number, payload = sections[at]
            sections[at] = (number, damaged(rng, payload))
    return Parts(flags, width, height, parts.digests, tuple(sections))
