"""Compares the catalogue with storage, both ways, and repairs what follows from one of them.

Nothing that could be the last copy of anything is deleted here. Keys of one kind are held in memory at a time: some 200
bytes for each object.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import select

from core.archive import inventory, object_lifecycle, rebuild, reconstructions
from core.archive.records import outdate
from core.archive.records.writer import count_missing, write_missing
from core.database import Database
from core.storage import Storage
from core.storage.keys import FOLDERS, digest_in
from models.image import Image, ImageState
from models.reconstruction import Reconstruction
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


def check(database: Database, storage: Storage, *, repairs: bool = False) -> Report:
    """Compare every object; with `repairs` mend what can be. Raises what the store and the database raise."""
    report = Report()
    for folder in FOLDERS:
        stored = {info.key: info.size_bytes for info in storage.list(folder)}
        report.objects += len(stored)
        report.findings += _unknown(database, storage, stored)
        report.findings += _not_as_catalogued(database, storage, object_lifecycle.kind_of_folder(folder), stored)
    if repairs:
        report.findings = [_repaired(database, storage, finding) for finding in report.findings]
        while write_missing(database, storage):
            pass
        object_lifecycle.sweep(database, storage)
    with database.read() as session:
        report.unrecorded = count_missing(session)
    return report


def _unknown(database: Database, storage: Storage, stored: Mapping[str, int]) -> Iterator[Finding]:
    for lot in _lots(list(stored)):
        with database.read() as session:
            unknown = set(lot) - inventory.known(session, lot)
        for key in sorted(unknown):
            # What was listed may have been deleted since.
            if object_lifecycle.is_stored(storage, key):
                yield Finding(key, object_lifecycle.kind_of(key), Fault.UNKNOWN)


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


def _repaired(database: Database, storage: Storage, finding: Finding) -> Finding:
    repair = _REPAIRS.get((finding.kind, finding.fault))
    done = repair(database, storage, finding.key) if repair is not None else None
    if done is None and finding.fault is Fault.RESIZED:
        # The next one that is stored under its key takes its place.
        object_lifecycle.note_damaged(database, finding.key)
    return Finding(finding.key, finding.kind, finding.fault, done)


def _restore_image(database: Database, storage: Storage, key: str) -> str | None:
    found = rebuild.read_record(storage, key)
    if isinstance(found, str):
        return None
    with database.write() as session:
        is_restored = rebuild.restore(session, [found]) == 1
        if not is_restored:
            # Its image is there and has another record by now.
            object_lifecycle.drop(session, key, shared=False)
    return "the image was restored from it" if is_restored else "a later record took its place"


def _rewrite_record(database: Database, _storage: Storage, key: str) -> str:
    with database.write() as session:
        query = select(Image).where(Image.record_sha256 == digest_in(key)).with_for_update(of=Image)
        for image in session.scalars(query):
            outdate(session, image)
    return "the record is written anew"


def _delete_spare(database: Database, _storage: Storage, key: str) -> str:
    with database.write() as session:
        object_lifecycle.drop(session, key, shared=False)
    return "it is deleted: it can be made again"


def _write_off(database: Database, _storage: Storage, key: str) -> str:
    with database.write() as session:
        ids = session.scalars(select(Reconstruction.id).where(Reconstruction.object_key == key)).all()
        for reconstruction_id in ids:
            reconstructions.write_off(session, reconstruction_id)
    return "it can be ordered again"


def _forget_original(database: Database, _storage: Storage, key: str) -> str | None:
    """An original that was kept beside its stream is gone; without a stream it is what the image was to be made of."""
    with database.write() as session:
        query = select(Image).where(Image.original_key == key, Image.state == ImageState.READY)
        image = session.scalars(query.with_for_update(of=Image)).first()
        if image is None:
            return None
        object_lifecycle.drop(session, key, shared=False)
        image.original_key = None
        outdate(session, image)
    return "the image no longer says that it was kept"


_REPAIRS: Mapping[tuple[ObjectKind, Fault], Callable[[Database, Storage, str], str | None]] = {
    (ObjectKind.RECORD, Fault.UNKNOWN): _restore_image,
    (ObjectKind.RECORD, Fault.MISSING): _rewrite_record,
    (ObjectKind.RECORD, Fault.RESIZED): _rewrite_record,
    (ObjectKind.RECORD, Fault.DAMAGED): _rewrite_record,
    (ObjectKind.RECONSTRUCTION, Fault.UNKNOWN): _delete_spare,
    (ObjectKind.RECONSTRUCTION, Fault.MISSING): _write_off,
    (ObjectKind.RECONSTRUCTION, Fault.RESIZED): _write_off,
    (ObjectKind.RECONSTRUCTION, Fault.DAMAGED): _write_off,
    (ObjectKind.REQUEST, Fault.UNKNOWN): _delete_spare,
    (ObjectKind.ORIGINAL, Fault.MISSING): _forget_original,
}


def _lots(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
