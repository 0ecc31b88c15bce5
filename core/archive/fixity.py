"""Fixity: reads an object, holds it against its digest, and mends it from the mirror, or the mirror from it.

An object that fails is marked in the catalogue: callers are not sent to it, and the next good copy replaces it.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.orm import Session

from codec.media import media_type_of
from core.archive import object_lifecycle, repairs
from core.archive.object_kinds import kind_of_folder
from core.archive.object_lifecycle import NewObject
from core.clock import database_now
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.logging import get_logger
from core.storage import Storage
from core.storage.keys import MIRRORED
from core.storage.mirrored import Copies
from core.storage.verified import fetch_file, read_through
from core.temp_files import FETCHED
from models.base import utc_now
from models.stored_object import StoredObject

_log = get_logger(__name__)

_SETTLED = timedelta(hours=1)
"""A younger object may still be read by the job that it is for; most originals are gone by then."""

_NO_ROOM = "The temporary folder has no room for a copy of an object; make some, or set MISC_TEMP_PATH."

_IS_MIRRORED = [kind_of_folder(folder) for folder in MIRRORED]


class Outcome(StrEnum):
    """What came of looking at an object."""

    INTACT = "intact"
    """It has its digest, and the mirror has it too where there is one."""
    MIRRORED = "mirrored"
    """It has its digest; the mirror had no good copy and has one now."""
    RESTORED = "restored"
    """It was damaged or missing, and was written again from the mirror."""
    MENDED = "mended"
    """It was damaged or missing, and is made again or given up, because it can be made again."""
    DAMAGED = "damaged"
    """It is damaged or missing, and there is no good copy."""
    GONE = "gone"
    """It was deleted meanwhile."""


@dataclass(frozen=True)
class Standing:
    """How the archive stands."""

    objects: int
    never_verified: int
    damaged: int
    unmirrored: int
    """Objects that the mirror should have, and is not known to; all of them where there is no mirror."""
    oldest_verified_at: datetime | None
    """When the object was verified that was verified longest ago."""


def verify(database: Database, copies: Copies, row: StoredObject) -> Outcome:
    """Look at one object and its copy, and mend what can be mended.

    Raises what the stores and the database raise but ObjectCorrupt and ObjectNotFound, which are what is looked for.
    """
    key, storage = row.key, copies.storage
    if _has(storage, key, row.sha256):
        is_copied = _keep_copy(database, copies, row)
        _note(database, copies, key)
        return Outcome.MIRRORED if is_copied else Outcome.INTACT
    if not _is_catalogued(database, key):
        return Outcome.GONE
    object_lifecycle.note_damaged(database, key)
    if restore(database, copies, row):
        return Outcome.RESTORED
    return Outcome.MENDED if repairs.repair(database, copies, key) else Outcome.DAMAGED


def restore(database: Database, copies: Copies, row: StoredObject) -> bool:
    """Write an object again from the mirror; False where that has no good copy."""
    if copies.mirror is None or not row.key.startswith(MIRRORED):
        return False
    try:
        with _copy(copies.mirror, row) as path:
            new = NewObject(row.key, row.sha256, path.stat().st_size)
            # Under a reservation, because it may be dropped and deleted in this very moment.
            object_lifecycle.store(database, copies.storage, new, path, replaces=True)
    except (ObjectCorrupt, ObjectNotFound):
        return False
    if not _has(copies.storage, row.key, row.sha256):
        return False
    _note(database, copies, row.key)
    _log.warning("object_restored", key=row.key)
    return True


def due(session: Session, period: timedelta, limit: int, *, with_mirror: bool) -> list[StoredObject]:
    """Objects to look at now, the most urgent first: damaged, without their copy, never verified, not for a period."""
    rows = select(StoredObject)
    oldest = StoredObject.last_verified_at
    queries = [rows.where(StoredObject.damaged_at.is_not(None))]
    if with_mirror:
        queries.append(rows.where(StoredObject.mirrored_at.is_(None), StoredObject.kind.in_(_IS_MIRRORED)))
    queries.append(rows.where(oldest.is_(None), StoredObject.created_at < database_now(-_SETTLED)))
    queries.append(rows.where(oldest < database_now(-period)).order_by(oldest))
    found: dict[str, StoredObject] = {}
    for query in queries:
        if len(found) < limit:
            found |= {row.key: row for row in session.scalars(query.limit(limit)) if row.key not in found}
    return list(found.values())[:limit]


def every(database: Database, at_once: int = 500) -> Iterator[StoredObject]:
    """All objects of the catalogue, in the order of their keys, whatever comes and goes meanwhile."""
    after = ""
    while True:
        with database.read() as session:
            query = select(StoredObject).where(StoredObject.key > after).order_by(StoredObject.key).limit(at_once)
            rows: Sequence[StoredObject] = session.scalars(query).all()
        if not rows:
            return
        yield from rows
        after = rows[-1].key


def standing(session: Session) -> Standing:
    """How the archive stands; reads the whole catalogue, so not for every scrape."""
    is_unmirrored = and_(StoredObject.mirrored_at.is_(None), StoredObject.kind.in_(_IS_MIRRORED))
    objects, never_verified, damaged, unmirrored, oldest = session.execute(
        select(
            func.count(),
            _count(StoredObject.last_verified_at.is_(None)),
            _count(StoredObject.damaged_at.is_not(None)),
            _count(is_unmirrored),
            func.min(StoredObject.last_verified_at),
        )
    ).one()
    return Standing(objects, never_verified, damaged, unmirrored, oldest)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def damaged_keys(session: Session, limit: int) -> list[str]:
    """Keys of objects that were found damaged or missing, and not mended since."""
    query = select(StoredObject.key).where(StoredObject.damaged_at.is_not(None))
    return list(session.scalars(query.order_by(StoredObject.key).limit(limit)))


def _has(storage: Storage, key: str, sha256: str) -> bool:
    """Whether the store has an object with these bytes; it is read twice before it is believed to have others."""
    try:
        read_through(storage, key, sha256)
    except (ObjectCorrupt, ObjectNotFound):
        return False
    return True


def _keep_copy(database: Database, copies: Copies, row: StoredObject) -> bool:
    """See to it that the mirror has the object; returns whether it had to be written."""
    if copies.mirror is None or not row.key.startswith(MIRRORED) or _has(copies.mirror, row.key, row.sha256):
        return False
    object_lifecycle.reserve(database, row.key)
    with _copy(copies.storage, row) as path:
        content_type = media_type_of(row.key)
        copies.mirror.put(row.key, path, content_type=content_type, sha256=row.sha256, replaces=True)
    return True


@contextmanager
def _copy(storage: Storage, row: StoredObject) -> Iterator[Path]:
    """The object as a verified file that goes with the block."""
    with tempfile.TemporaryDirectory(prefix=FETCHED) as folder:
        path = Path(folder) / "object"
        fetch_file(storage, row.key, path, row.sha256, _NO_ROOM)
        yield path


def _note(database: Database, copies: Copies, key: str) -> None:
    """Record that the object was read whole and had its digest, and its copy too."""
    now = utc_now()
    values: dict[str, datetime | None] = {"last_verified_at": now, "damaged_at": None}
    if copies.mirror is not None and key.startswith(MIRRORED):
        values["mirrored_at"] = now
    database.execute_alone(update(StoredObject).where(StoredObject.key == key).values(**values))


def _is_catalogued(database: Database, key: str) -> bool:
    with database.read() as session:
        return session.get(StoredObject, key) is not None
