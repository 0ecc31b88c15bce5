"""The rows of what lies in packs: where a stream or record is, and which bytes of packs are dead."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import case, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.storage.keys import BITSTREAMS, PACKED, PACKS
from models.base import utc_now
from models.image import Image
from models.pack_member import PackMember
from models.stored_object import ObjectKind, StoredObject

_AT_ONCE = 500
"""Keys in one statement."""


class Place(NamedTuple):
    """Where the bytes of a key lie: in an object of that name, or from `start` on in a pack."""

    object_key: str
    start: int = 0
    size_bytes: int | None = None
    """None for a whole object."""


class PackState(NamedTuple):
    """A pack and what lies in it; sizes in bytes."""

    key: str
    size_bytes: int
    live: int
    live_bytes: int
    dead: int
    dead_bytes: int
    is_damaged: bool


def place_of(session: Session, key: str) -> Place:
    """Where the bytes of a key are to be read: of a packed one in its pack."""
    if not key.startswith(PACKED):
        return Place(key)
    query = select(PackMember.pack_key, PackMember.offset, PackMember.size_bytes)
    row = session.execute(query.where(PackMember.key == key, PackMember.deleted_at.is_(None))).first()
    return Place(key) if row is None else Place(*row)


def holder_of(session: Session, key: str) -> str:
    """The key of the object in which the bytes of this key lie."""
    return place_of(session, key).object_key


def living(session: Session, keys: Iterable[str]) -> set[str]:
    """Those of the keys that lie in packs."""
    return set(sizes(session, keys))


def sizes(session: Session, keys: Iterable[str]) -> dict[str, int]:
    """Sizes of those of the keys that lie in packs, in bytes."""
    found: dict[str, int] = {}
    for lot in lots([key for key in keys if key.startswith(PACKED)]):
        query = select(PackMember.key, PackMember.size_bytes)
        rows = session.execute(query.where(PackMember.key.in_(lot), PackMember.deleted_at.is_(None)))
        found |= {row.key: row.size_bytes for row in rows}
    return found


def enter(session: Session, pack_key: str, rows: Iterable[tuple[str, int, int]], live: set[str]) -> None:
    """Note the members of a pack (key, offset, size); those that are not to live are entered with their tombstone."""
    now = utc_now()
    values = [
        {"pack_key": pack_key, "offset": offset, "key": key, "size_bytes": size_bytes,
         "deleted_at": None if key in live else now}
        for key, offset, size_bytes in rows
    ]  # fmt: skip
    if values:
        session.execute(insert(PackMember), values)


def bury(session: Session, keys: Sequence[str], pack_keys: Sequence[str] | None = None) -> set[str]:
    """Set the tombstones of members, of these packs only if any are given; returns the keys that lived there."""
    buried: set[str] = set()
    for lot in lots(sorted(keys)):
        statement = update(PackMember).where(PackMember.key.in_(lot), PackMember.deleted_at.is_(None))
        if pack_keys is not None:
            statement = statement.where(PackMember.pack_key.in_(pack_keys))
        rows = session.execute(
            statement.values(deleted_at=utc_now()).returning(PackMember.key),
            execution_options={"synchronize_session": False},
        )
        buried.update(rows.scalars())
    return buried


def forget(session: Session, key: str) -> None:
    """Nothing refers to the key any more: set its tombstone; of a pack, that goes as a whole, forget all."""
    if key.startswith(PACKS):
        session.execute(delete(PackMember).where(PackMember.pack_key == key))
    # A rewrite may have taken it to another pack while this transaction waited for it.
    while holder_of(session, key) != key:
        bury(session, [key])


def living_in(session: Session, pack_key: str) -> list[tuple[str, int, int]]:
    """Key, offset and size of what lives in a pack, in the order in which it lies there."""
    query = select(PackMember.key, PackMember.offset, PackMember.size_bytes)
    query = query.where(PackMember.pack_key == pack_key, PackMember.deleted_at.is_(None))
    rows = session.execute(query.order_by(PackMember.offset))
    return [(key, offset, size_bytes) for key, offset, size_bytes in rows]


def living_in_damaged(session: Session, limit: int) -> list[tuple[str, str]]:
    """Keys of what lives in packs that are damaged, each with its pack: what is left there has no good bytes."""
    query = select(PackMember.key, PackMember.pack_key).join(StoredObject, StoredObject.key == PackMember.pack_key)
    query = query.where(StoredObject.damaged_at.is_not(None), PackMember.deleted_at.is_(None))
    return [(key, pack) for key, pack in session.execute(query.order_by(PackMember.key).limit(limit))]


def streams_without_image(session: Session) -> list[str]:
    """Digests of the streams that live in packs and that no image has; reads all rows."""
    sha256 = func.substr(PackMember.key, len(BITSTREAMS) + 1, 64)
    query = select(sha256).where(
        PackMember.deleted_at.is_(None),
        PackMember.key.startswith(BITSTREAMS),
        ~exists().where(Image.bitstream_sha256 == sha256),
    )
    return list(session.scalars(query))


def known_in(session: Session, pack_key: str) -> dict[str, int]:
    """The offset of every member of a pack, tombstones included, by key."""
    query = select(PackMember.key, PackMember.offset).where(PackMember.pack_key == pack_key)
    return {row.key: row.offset for row in session.execute(query)}


def dead_packs(session: Session, share: float, age: timedelta) -> list[str]:
    """Packs to be rewritten, the emptiest first: more than that share of their bytes is dead, or some have been for so
    long. Damaged ones are not among them."""
    dead = (
        select(
            PackMember.pack_key,
            func.sum(PackMember.size_bytes).label("dead_bytes"),
            func.min(PackMember.deleted_at).label("since"),
        )
        .where(PackMember.deleted_at.is_not(None))
        .group_by(PackMember.pack_key)
        .subquery()
    )
    query = (
        select(StoredObject.key)
        .join(dead, dead.c.pack_key == StoredObject.key)
        .where(
            StoredObject.damaged_at.is_(None),
            or_(dead.c.dead_bytes > share * StoredObject.size_bytes, dead.c.since < database_now(-age)),
        )
        .order_by(dead.c.dead_bytes.desc(), StoredObject.key)
    )
    return list(session.scalars(query))


def packs(session: Session, *, key: str | None = None) -> list[PackState]:
    """Every pack, or the one of this key, with what lives in it and what is dead; reads all rows."""
    is_live, size = PackMember.deleted_at.is_(None), PackMember.size_bytes
    query = (
        select(
            StoredObject.key,
            StoredObject.size_bytes,
            func.count(case((is_live, 1))),
            func.coalesce(func.sum(case((is_live, size))), 0),
            func.count(PackMember.key) - func.count(case((is_live, 1))),
            func.coalesce(func.sum(case((~is_live, size))), 0),
            StoredObject.damaged_at,
        )
        .outerjoin(PackMember, PackMember.pack_key == StoredObject.key)
        .where(StoredObject.kind == ObjectKind.PACK)
        .group_by(StoredObject.key)
        .order_by(StoredObject.key)
    )
    if key is not None:
        query = query.where(StoredObject.key == key)
    return [
        PackState(pack_key, size_bytes or 0, live, int(live_bytes), dead, int(dead_bytes), damaged_at is not None)
        for pack_key, size_bytes, live, live_bytes, dead, dead_bytes, damaged_at in session.execute(query)
    ]


class Sums(NamedTuple):
    """What lies in packs altogether."""

    live: int
    live_bytes: int
    dead: int
    dead_bytes: int


def sums(session: Session) -> Sums:
    """What lives in packs and what is dead; reads all rows, so not for every scrape."""
    is_live, size = PackMember.deleted_at.is_(None), PackMember.size_bytes
    row = session.execute(
        select(
            func.count(case((is_live, 1))),
            func.coalesce(func.sum(case((is_live, size))), 0),
            func.count(case((~is_live, 1))),
            func.coalesce(func.sum(case((~is_live, size))), 0),
        )
    ).one()
    return Sums(*map(int, row))


def lots(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    """The keys, so many at once as one statement takes."""
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
