"""A pack as a file: a line that says how to read it, members one after another, an index, a trailer of fixed size.

docs/packs.md describes it. Knows no database.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from codec.limits import MAX_STREAM_BYTES
from core.archive.records.record import MAX_RECORD_BYTES
from core.errors import ObjectCorrupt
from core.storage import Storage
from core.storage.keys import BITSTREAMS, RECORDS, check_key, digest_in

HEADER = (
    b"MISC pack, version 1. After this line files lie one behind the other, every byte as it was; after them an index "
    b"in plain text; at the end a line of 107 bytes that tells the offset of the index, its size in bytes, and its "
    b"SHA-256. Each line of the index is one file: its SHA-256, its offset from the beginning of the pack, its size in "
    b"bytes, and its kind: a bitstream is a picture as a .misc file, a record is what is known of it as JSON.\n"
)
"""Plain text for whoever finds a pack and nothing else; a pack of version 1 begins with exactly these bytes."""

MAX_INDEX_BYTES = 16 * 1024 * 1024
"""Some 180,000 members; a whole index is read into memory."""

MAX_MEMBERS = 20_000
"""What is written into one pack: as many rows change in one transaction."""

TRAILER_BYTES = 107

_TRAILER = re.compile(rb"MISC pack index (\d{12}) (\d{12}) ([0-9a-f]{64})\n")
_LINE = re.compile(r"([0-9a-f]{64}) ([1-9]\d{0,11}) ([1-9]\d{0,11}) ([a-z]{1,24})")


class _Form(NamedTuple):
    """What the members of one kind are: their folder and suffix as objects, and how large they may be."""

    folder: str
    suffix: str
    max_bytes: int


_FORMS = {
    "bitstream": _Form(BITSTREAMS, ".misc", MAX_STREAM_BYTES),
    "record": _Form(RECORDS, ".json", MAX_RECORD_BYTES),
}
_KINDS = {form.folder: kind for kind, form in _FORMS.items()}


class Member(NamedTuple):
    """A stream or record in a pack: its key as an object of its own, and the bytes of the pack that it is."""

    key: str
    offset: int
    size_bytes: int

    @property
    def sha256(self) -> str:
        """Of its bytes, as its key says."""
        return digest_in(self.key) or ""


class PackWriter:
    """Writes a pack into a file, member by member; equal members in the same order give equal bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.members: list[Member] = []
        self._write(HEADER)

    def add(self, key: str, data: bytes) -> None:
        """Append a stream or record, whose digest was verified."""
        self.members.append(Member(key, self.size_bytes, len(data)))
        self._write(data)

    def finish(self) -> str:
        """Append index and trailer; returns the SHA-256 of the whole pack."""
        index = "".join(map(_line_of, self.members)).encode()
        index_sha256 = hashlib.sha256(index).hexdigest()
        trailer = f"MISC pack index {self.size_bytes:012} {len(index):012} {index_sha256}\n".encode()
        self._write(index)
        self._write(trailer)
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)


def read_index(storage: Storage, key: str) -> list[Member]:
    """The members of a stored pack, in the order in which they lie there.

    Raises ObjectNotFound, and ObjectCorrupt for anything that is no pack: sizes are checked before anything is read.
    """
    size_bytes = storage.head(key).size_bytes
    start = size_bytes - TRAILER_BYTES
    match = _TRAILER.fullmatch(_read(storage, key, start, size_bytes)) if start > len(HEADER) else None
    if match is None:
        raise ObjectCorrupt(f"{key} does not end like a pack; restore it from the mirror or a backup")
    offset, index_bytes = int(match[1]), int(match[2])
    if index_bytes > MAX_INDEX_BYTES or offset + index_bytes != start:
        raise ObjectCorrupt(f"{key} has an index of {index_bytes} bytes at byte {offset}, which no pack has")
    index = _read(storage, key, offset, start)
    if hashlib.sha256(index).hexdigest() != match[3].decode():
        raise ObjectCorrupt(f"{key} has a damaged index; restore it from the mirror or a backup")
    return _members_in(index, key, offset)


def read_members(storage: Storage, key: str, members: Sequence[Member]) -> Iterator[tuple[Member, bytes]]:
    """The bytes of members, which are in the order of their offsets, in one pass over the pack.

    Passes over those that do not have their digest. Raises ObjectNotFound, and StorageUnavailable where the store
    breaks off.
    """
    if not members:
        return
    first, last = members[0].offset, members[-1].offset + members[-1].size_bytes
    wanted = iter(members)
    member = next(wanted)
    held, position = bytearray(), first
    with storage.open(key, start=first, end=last) as reader:
        for chunk in reader:
            held += chunk
            while member is not None and member.offset + member.size_bytes <= position + len(held):
                del held[: member.offset - position]
                position = member.offset
                data = bytes(held[: member.size_bytes])
                if hashlib.sha256(data).hexdigest() == member.sha256:
                    yield member, data
                if (following := next(wanted, None)) is None:
                    return
                member = following
            # What lies before the next member is not kept.
            passed = min(max(member.offset - position, 0), len(held))
            del held[:passed]
            position += passed


def _members_in(index: bytes, key: str, end: int) -> list[Member]:
    """The members that an index names; raises ObjectCorrupt unless they fill the pack up to `end`, each once."""
    members: list[Member] = []
    offset = len(HEADER)
    for line in index.decode("ascii", "replace").splitlines():
        member = _member_in(line)
        if member is None or member.offset != offset:
            raise ObjectCorrupt(f"{key} has an index that this version cannot read: line {len(members) + 1}")
        members.append(member)
        offset += member.size_bytes
    if offset != end or len({member.key for member in members}) != len(members):
        raise ObjectCorrupt(f"{key} has an index that does not tell all of its bytes, or names a file twice")
    return members


def _member_in(line: str) -> Member | None:
    match = _LINE.fullmatch(line)
    form = match and _FORMS.get(match[4])
    if match is None or form is None or int(match[3]) > form.max_bytes:
        return None
    return Member(check_key(f"{form.folder}{match[1]}{form.suffix}"), int(match[2]), int(match[3]))


def _line_of(member: Member) -> str:
    kind = _KINDS[member.key.partition("/")[0] + "/"]
    return f"{member.sha256} {member.offset} {member.size_bytes} {kind}\n"


def _read(storage: Storage, key: str, start: int, end: int) -> bytes:
    """The bytes `[start, end)`, which are few."""
    with storage.open(key, start=start, end=end) as reader:
        return b"".join(reader)


def by_offset(members: Iterable[Member]) -> list[Member]:
    """In the order in which they lie in their pack."""
    return sorted(members, key=lambda member: member.offset)
