"""Makes packs of what is small and old enough, and rewrites those with too many dead bytes.

A pack is reserved, written, read back, and only then committed: in one transaction its members live in it and are no
objects of their own any more. What lay loose is deleted after that. Killed anywhere, a pass leaves either loose objects
and a pack that nothing refers to, which is swept, or a pack and loose objects that nothing needs, which are swept.
"""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from core.archive import object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.archive.packs import members, places
from core.archive.packs.loose_copies import sweep_copies
from core.archive.packs.members import Place
from core.archive.packs.pack_file import MAX_MEMBERS, Member, PackWriter, read_members
from core.background import Periodic
from core.broker import Broker
from core.clock import database_now
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound, StorageUnavailable
from core.logging import get_logger
from core.settings import PackPolicy, PackSettings, StorageBackend
from core.storage import Storage
from core.storage.keys import digest_in, pack_key
from core.storage.mirrored import Copies
from core.storage.verified import read_through
from core.temp_files import FETCHED, space_errors
from models.base import new_id, utc_now
from models.pack_member import PackMember
from models.pending_deletion import PendingDeletion
from models.stored_object import ObjectKind, StoredObject

_log = get_logger(__name__)

_PASS_SECONDS = 60.0
_LEADERSHIP_SECONDS = 300.0
"""Longer than a pack takes. Two that pack at once make two packs, of which one is swept."""

_READS_AT_ONCE = 8
_READ_AHEAD = 64
"""Members that are in memory at a time."""

_MANY_OBJECTS = 100_000
"""A folder with more is slow to list and to copy; below that plain files are worth more to whoever owns them."""

_NO_ROOM = "The temporary folder has no room for a pack; make some, or set MISC_TEMP_PATH."

_KINDS = (ObjectKind.BITSTREAM, ObjectKind.RECORD)


class Source(NamedTuple):
    """What is to be packed: a stream or record, where it lies now, and its size."""

    key: str
    place: Place
    size_bytes: int


@dataclass(frozen=True)
class Packed:
    """A pack that was made: its key, what lives in it, and its bytes."""

    key: str
    members: int
    size_bytes: int


class Packer:
    """One thread a process, of which one process at a time does the work."""

    def __init__(
        self, database: Database, broker: Broker, copies: Copies, settings: PackSettings, backend: StorageBackend
    ) -> None:
        self._database, self._broker, self._copies, self._settings = database, broker, copies, settings
        self._backend = backend
        self._holder = new_id("pck")
        self._stopped = threading.Event()
        self._thread = Periodic("packer", _PASS_SECONDS, self._lead_pass)

    def start(self) -> None:
        """Begin; with the policy `off` to rewrite only what is packed already."""
        self._thread.start()

    def close(self) -> None:
        """End after the pack that is being made."""
        self._stopped.set()
        self._thread.close()

    def make_pass(self) -> list[Packed]:
        """Rewrite a pack that has to be, and make one where there is enough for it; returns what was made."""
        database, copies, settings = self._database, self._copies, self._settings
        made = [rewrite(database, copies, settings)]
        if self._packs():
            made.append(pack_loose(database, copies, settings))
        sweep_copies(database, copies.as_one())
        return [packed for packed in made if packed is not None]

    def _packs(self) -> bool:
        if self._settings.policy is not PackPolicy.AUTO or self._backend is not StorageBackend.LOCAL:
            return self._settings.policy is not PackPolicy.OFF
        with self._database.read() as session:
            return _has_many(session)

    def _lead_pass(self) -> None:
        while self._broker.acquire_leadership("packer", self._holder, _LEADERSHIP_SECONDS):
            if not self.make_pass() or self._stopped.is_set():
                return


def pack_loose(database: Database, copies: Copies, settings: PackSettings, *, fills: bool = True) -> Packed | None:
    """Make one pack of the oldest small streams and records; None where there is not enough to fill it, or, unless it
    `fills` it, nothing at all.

    Raises what the stores and the database raise.
    """
    with database.read() as session:
        sources = _loose(session, settings)
    is_full = len(sources) == MAX_MEMBERS or sum(source.size_bytes for source in sources) >= settings.size_bytes
    return _make(database, copies, sources) if sources and (is_full or not fills) else None


def rewrite(database: Database, copies: Copies, settings: PackSettings) -> Packed | None:
    """Make one pack of what lives in packs that have too many dead bytes, and let go of those; None where there are
    none, or where nothing lived in them."""
    drop_empty(database)
    with database.read() as session:
        keys = members.dead_packs(session, settings.dead_share, settings.dead_age)
        sources = list(_first(_living(session, keys), settings.size_bytes))
    return _make(database, copies, sources) if sources else None


def repack(database: Database, copies: Copies, pack: str) -> Packed | None:
    """Make one pack of all that lives in this one and is intact; None where nothing is. Where nothing is dead and all
    is intact that is the same pack, whole again."""
    with database.read() as session:
        sources = list(_living(session, [pack]))
    return _make(database, copies, sources) if sources else None


def drop_empty(database: Database) -> None:
    """Let go of the packs in which nothing lives."""
    with database.read() as session:
        keys = _without_life(session)
    if keys:
        with database.write() as session:
            for key in keys:
                object_lifecycle.drop(session, key, shared=False)


def unpack(database: Database, copies: Copies, pack: str) -> int:
    """Make objects of their own again of all that lives in a pack and is intact; returns how many."""
    storage = copies.as_one()
    with database.read() as session:
        sources = list(_living(session, [pack]))
    taken = 0
    for source, data in _read_each(database, copies.storage, sources):
        new = NewObject(source.key, digest_in(source.key) or "", source.size_bytes)
        taken += object_lifecycle.take_out(database, storage, new, data)
    return taken


def _make(database: Database, copies: Copies, sources: Sequence[Source]) -> Packed | None:
    """One pack of all sources that are intact: written, read back, committed."""
    with tempfile.TemporaryDirectory(prefix=FETCHED) as folder, space_errors(_NO_ROOM):
        path = Path(folder) / "pack"
        with path.open("wb") as file:
            writer = PackWriter(file)
            for source, data in _read_each(database, copies.storage, sources):
                writer.add(source.key, data)
            if not writer.members:
                return None
            sha256 = writer.finish()
        new = NewObject(pack_key(sha256), sha256, writer.size_bytes)
        object_lifecycle.store(database, copies.storage, new, path)
        _verify(copies.storage, new)
        if copies.mirror is not None:
            # The loose ones go from the mirror too, whatever its policy is.
            copies.mirror.put(new.key, path, content_type="application/octet-stream", sha256=sha256)
            _verify(copies.mirror, new)
    packed = {member.key for member in writer.members}
    with database.write() as session:
        live = _commit(session, new, [source for source in sources if source.key in packed], copies)
        if live:
            members.enter(session, new.key, writer.members, live)
    _log.info("packed", key=new.key, members=len(live), size_bytes=new.size_bytes)
    return Packed(new.key, len(live), new.size_bytes)


def _commit(session: Session, new: NewObject, sources: Sequence[Source], copies: Copies) -> set[str]:
    """Take the sources away from where they lay; returns the keys of those that still were there."""
    object_lifecycle.retain(session, new)
    now = utc_now()
    verified_at = {"last_verified_at": now, "mirrored_at": None if copies.mirror is None else now}
    session.execute(update(StoredObject).where(StoredObject.key == new.key).values(**verified_at))
    loose = [source.key for source in sources if source.place.object_key == source.key]
    # Pending deletions are locked before the catalogue, as everywhere.
    live = object_lifecycle.release(session, loose) - members.living(session, loose)
    packs = {source.place.object_key for source in sources if source.place.object_key != source.key} - {new.key}
    live |= members.bury(session, [source.key for source in sources if source.place.object_key in packs], sorted(packs))
    return live


def _loose(session: Session, settings: PackSettings) -> list[Source]:
    """The oldest small streams and records that lie loose, are settled, and fill one pack."""
    query = (
        select(StoredObject.key, StoredObject.size_bytes)
        .where(
            StoredObject.kind.in_(_KINDS),
            StoredObject.created_at < database_now(-settings.age),
            StoredObject.size_bytes.between(1, settings.member_bytes),
            StoredObject.damaged_at.is_(None),
            # What is reserved or dropped may be gone before it is packed.
            ~exists().where(PendingDeletion.key == StoredObject.key),
            ~exists().where(PackMember.key == StoredObject.key, PackMember.deleted_at.is_(None)),
        )
        .order_by(StoredObject.created_at, StoredObject.key)
        .limit(MAX_MEMBERS)
    )
    sources = (Source(key, Place(key), size_bytes or 0) for key, size_bytes in session.execute(query))
    return list(_first(sources, settings.size_bytes))


def _living(session: Session, keys: Sequence[str]) -> Iterator[Source]:
    for pack in keys:
        for key, offset, size_bytes in members.living_in(session, pack):
            yield Source(key, Place(pack, offset, size_bytes), size_bytes)


def _first(sources: Iterator[Source], size_bytes: int) -> Iterator[Source]:
    """So many of them as fill a pack."""
    gathered = 0
    for source in islice(sources, MAX_MEMBERS):
        if gathered >= size_bytes:
            return
        gathered += source.size_bytes
        yield source


def _without_life(session: Session) -> list[str]:
    """Packs in which nothing lives, and whose deletion is not pending."""
    return list(
        session.scalars(
            select(StoredObject.key).where(
                StoredObject.kind == ObjectKind.PACK,
                ~exists().where(PackMember.pack_key == StoredObject.key, PackMember.deleted_at.is_(None)),
                ~exists().where(PendingDeletion.key == StoredObject.key),
            )
        )
    )


def _has_many(session: Session) -> bool:
    some = select(StoredObject.key).where(StoredObject.kind.in_(_KINDS)).limit(_MANY_OBJECTS).subquery()
    return (session.scalar(select(func.count()).select_from(some)) or 0) >= _MANY_OBJECTS


def _read_each(database: Database, storage: Storage, sources: Sequence[Source]) -> Iterator[tuple[Source, bytes]]:
    """The bytes of the sources, in their order, verified; what is damaged or gone is noted and passed over."""

    def _read(source: Source) -> tuple[Source, bytes] | None:
        try:
            return source, places.get(database, storage, source.key, source.size_bytes)
        except ObjectCorrupt:
            object_lifecycle.note_damaged(database, source.key)
        except ObjectNotFound:
            _log.warning("not_packed", key=source.key)
        return None

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for pack, group in groupby(sources, lambda source: source.place.object_key if source.place.size_bytes else ""):
            lot = list(group)
            if pack:
                yield from _read_pack(database, storage, pack, lot)
            else:
                for start in range(0, len(lot), _READ_AHEAD):
                    yield from filter(None, pool.map(_read, lot[start : start + _READ_AHEAD]))


def _read_pack(
    database: Database, storage: Storage, pack: str, sources: Sequence[Source]
) -> Iterator[tuple[Source, bytes]]:
    """The same for what lies in one pack, which is read in one go."""
    by_key = {source.key: source for source in sources}
    wanted = [Member(source.key, source.place.start, source.size_bytes) for source in sources]
    intact = 0
    for member, data in read_members(storage, pack, wanted):
        intact += 1
        yield by_key[member.key], data
    if intact < len(sources):
        object_lifecycle.note_damaged(database, pack)


def _verify(storage: Storage, new: NewObject) -> None:
    """Read the pack back; raises StorageUnavailable when it does not have its digest."""
    try:
        read_through(storage, new.key, new.sha256)
    except ObjectCorrupt as error:
        raise StorageUnavailable(f"{new.key} was stored and came back with other bytes; it is stored again") from error
