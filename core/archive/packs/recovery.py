"""Compares the indexes of stored packs with the rows of their members, and makes rows of what an index alone knows."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.archive import inventory
from core.archive.inventory import Entry
from core.archive.packs import members
from core.archive.packs.pack_file import Member, read_index
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.storage import Storage
from core.storage.keys import PACKED, PACKS, digest_in
from models.pending_deletion import PendingDeletion
from models.stored_object import StoredObject


@dataclass(frozen=True)
class Comparison:
    """A stored pack beside what the database knows of it."""

    key: str
    size_bytes: int
    is_known: bool
    """Whether the catalogue has it."""
    unlisted: tuple[Member, ...]
    """What its index has and no row."""
    is_damaged: bool
    """Its index cannot be read, or does not have what rows say; `reason` tells."""
    reason: str = ""


def compare(database: Database, storage: Storage) -> Iterator[Comparison]:
    """Every stored pack that is not about to be deleted, those written last first; reads their indexes."""
    for info in sorted(storage.list(PACKS), key=lambda info: info.modified_at, reverse=True):
        with database.read() as session:
            if session.get(PendingDeletion, info.key) is not None:
                continue
            is_known = session.get(StoredObject, info.key) is not None
            rows = members.known_in(session, info.key)
        try:
            index = read_index(storage, info.key)
        except ObjectNotFound:
            continue  # deleted since the listing
        except ObjectCorrupt as error:
            yield Comparison(info.key, info.size_bytes, is_known, (), is_damaged=True, reason=str(error))
            continue
        offsets = {member.key: member.offset for member in index}
        unlisted = tuple(member for member in index if member.key not in rows)
        is_damaged = any(offsets.get(key) != offset for key, offset in rows.items())
        reason = f"{info.key} does not have what the database says is in it" if is_damaged else ""
        yield Comparison(info.key, info.size_bytes, is_known, unlisted, is_damaged, reason)


def loose_keys(storage: Storage) -> set[str]:
    """All streams and records that are objects of their own; some 200 bytes of memory for each."""
    return {info.key for folder in PACKED for info in storage.list(folder)}


def enter(session: Session, found: Comparison, loose: Collection[str]) -> None:
    """Make the rows that are missing. What lies `loose` or lives in another pack gets its tombstone here."""
    inventory.enter(session, [Entry(found.key, digest_in(found.key) or "", found.size_bytes)])
    keys = [member.key for member in found.unlisted]
    live = set(keys) - set(loose) - members.living(session, keys)
    for lot in members.lots(sorted(live)):
        # A backup of the database that is older than the pack has it as an object of its own.
        session.execute(delete(StoredObject).where(StoredObject.key.in_(lot)))
    members.enter(session, found.key, found.unlisted, live)
