"""Compares the catalogue with storage, both ways, and repairs what follows from one of them.

Nothing that could be the last copy of anything is deleted here. Keys of one kind are held in memory at a time: some 200
bytes for each object.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import select

from core.archive import deletions, fixity, inventory, object_lifecycle, rebuild, repairs
from core.archive.object_kinds import kind_of, kind_of_folder
from core.archive.packs import recovery
from core.archive.records import outdate
from core.archive.records.writer import count_missing, write_missing
from core.database import Database
from core.storage import Storage
from core.storage.keys import FOLDERS, PACKS
from core.storage.mirrored import Copies
from models.image import Image, ImageState
from models.stored_object import ObjectKind, StoredObject

_AT_ONCE = 500


class Fault(StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    """It is in the catalogue, and not in storage."""
    UNKNOWN = "unknown"
    """It is in storage, and nothing in the database knows of it."""
    RESIZED = "resized"
    """It is in storage with another size than it was stored with."""
    DAMAGED = "damaged"
    """Somebody read it, and it does not have its digest."""
    UNLISTED = "unlisted"
    """It is a pack, and the database does not know all that lies in it."""


@dataclass(frozen=True)
class Finding:
    """One object that is not as it should be; `repair` is what was done about it, None for nothing."""

    key: str
    kind: ObjectKind
    fault: Fault
    repair: str | None = None


@dataclass
class Report:
    """What a check found."""

    objects: int = 0
    """Looked at, in storage."""
    unrecorded: int = 0
    """Images that have a stream and no record yet."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """True when nothing is wrong that was not repaired."""
        return all(finding.repair is not None for finding in self.findings)


def check(database: Database, copies: Copies, *, mends: bool = False) -> Report:
    """Compare every object; with `mends` mend what can be. Raises what the store and the database raise."""
    report, storage = Report(), copies.storage
    packs = list(_packs_amiss(database, storage))
    if mends and any(finding.fault is not Fault.DAMAGED for finding in packs):
        # First of all: what lies in packs is not missing.
        unreadable = rebuild.rebuild_packs(database, storage).unreadable
        packs = [_known_again(finding, unreadable) for finding in packs]
    for folder in FOLDERS:
        stored = {info.key: info.size_bytes for info in storage.list(folder)}
        report.objects += len(stored)
        if folder != PACKS:
            report.findings += _unknown(database, storage, stored)
        report.findings += _not_as_catalogued(database, storage, kind_of_folder(folder), stored)
    told = {finding.key for finding in report.findings}
    report.findings += [finding for finding in packs if finding.key not in told]
    if mends:
        report.findings = [_repaired(database, copies, finding) for finding in report.findings]
        both = copies.as_one()
        while write_missing(database, both):
            pass
        deletions.sweep(database, both)
    with database.read() as session:
        report.unrecorded = count_missing(session)
    return report


def _packs_amiss(database: Database, storage: Storage) -> Iterator[Finding]:
    """Packs whose index does not fit what the database knows; the catalogue's word on them is compared as of others."""
    for found in recovery.compare(database, storage):
        if found.is_damaged:
            yield Finding(found.key, ObjectKind.PACK, Fault.DAMAGED)
        elif not found.is_known:
            yield Finding(found.key, ObjectKind.PACK, Fault.UNKNOWN)
        elif found.unlisted:
            yield Finding(found.key, ObjectKind.PACK, Fault.UNLISTED)


def _known_again(finding: Finding, unreadable: Mapping[str, str]) -> Finding:
    if finding.key in unreadable or finding.fault is Fault.DAMAGED:
        return finding
    return replace(finding, repair="what lies in it is known again")


def _unknown(database: Database, storage: Storage, stored: Mapping[str, int]) -> Iterator[Finding]:
    for lot in _lots(list(stored)):
        with database.read() as session:
            unknown = set(lot) - inventory.known(session, lot)
        for key in sorted(unknown):
            # What was listed may have been deleted since.
            if object_lifecycle.is_stored(storage, key):
                yield Finding(key, kind_of(key), Fault.UNKNOWN)


def _not_as_catalogued(
    database: Database, storage: Storage, kind: ObjectKind, stored: Mapping[str, int]
) -> Iterator[Finding]:
    after = ""
    while True:
        with database.read() as session:
            query = select(StoredObject).where(StoredObject.kind == kind, StoredObject.key > after)
            rows = session.scalars(query.order_by(StoredObject.key).limit(_AT_ONCE)).all()
        if not rows:
            return
        after = rows[-1].key
        for row in rows:
            size_bytes = stored.get(row.key)
            if size_bytes is None:
                # What was stored since the listing, or deleted, is as it should be.
                if _is_missing(database, storage, row.key):
                    yield Finding(row.key, kind, Fault.MISSING)
            elif row.size_bytes not in (None, size_bytes):
                yield Finding(row.key, kind, Fault.RESIZED)
            elif row.damaged_at is not None:
                yield Finding(row.key, kind, Fault.DAMAGED)


def _is_missing(database: Database, storage: Storage, key: str) -> bool:
    if object_lifecycle.is_stored(storage, key):
        return False
    with database.read() as session:
        return session.get(StoredObject, key) is not None


def _repaired(database: Database, copies: Copies, finding: Finding) -> Finding:
    if finding.repair is not None:
        return finding
    match finding.fault, finding.kind:
        case Fault.UNKNOWN, ObjectKind.RECORD:
            done = _restore_image(database, copies.storage, finding.key)
        case Fault.UNKNOWN, ObjectKind.RECONSTRUCTION | ObjectKind.REQUEST:
            done = repairs.delete_spare(database, finding.key)
        case Fault.UNKNOWN | Fault.UNLISTED, _:
            done = None
        case _:
            done = _mend(database, copies, finding)
    return replace(finding, repair=done)


def _mend(database: Database, copies: Copies, finding: Finding) -> str | None:
    """Bring back what is in the catalogue: from the mirror, else in the way of its kind."""
    # The next one that is stored under its key takes its place.
    object_lifecycle.note_damaged(database, finding.key)
    with database.read() as session:
        row = session.get(StoredObject, finding.key)
    if row is not None and fixity.restore(database, copies, row):
        return "it was restored from the mirror"
    if finding.fault is Fault.MISSING and finding.kind is ObjectKind.ORIGINAL:
        return _forget_original(database, finding.key)
    return repairs.repair(database, copies, finding.key)


def _restore_image(database: Database, storage: Storage, key: str) -> str | None:
    found = rebuild.read_record(database, storage, key)
    if isinstance(found, str):
        return None
    with database.write() as session:
        is_restored = rebuild.restore(session, [found]) == 1
        if not is_restored:
            # Its image is there and has another record by now.
            object_lifecycle.drop(session, key, shared=False)
    return "the image was restored from it" if is_restored else "a later record took its place"


def _forget_original(database: Database, key: str) -> str | None:
    """An original that was kept beside a stream is gone; without a stream it is what the image was to be made of."""
    with database.write() as session:
        query = select(Image).where(Image.original_key == key, Image.state == ImageState.READY).order_by(Image.id)
        found = session.scalars(query.with_for_update(of=Image)).all()
        if not found:
            return None
        object_lifecycle.drop(session, key, shared=False)
        for image in found:
            image.original_key = None
            outdate(session, image)
    return "the image no longer says that it was kept"


def _lots(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
