"""Makes a database again from storage: images, descriptions, batches and finished encodes from their records.

What is there already stays, so that a rebuild may be repeated, and repairs a database that lost a part. Keys, quotas,
money and reconstructions are not in storage; see docs/records.md.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from codec.bitstream import ExternalCoarse, unpack
from codec.errors import CodecError
from core.archive import bitstreams, images, inventory, object_lifecycle, search
from core.archive.images import NewStream
from core.archive.inventory import Entry
from core.archive.object_lifecycle import NewObject
from core.archive.packs import members, pack_file, places, recovery
from core.archive.packs.pack_file import Member
from core.archive.records.record import MAX_RECORD_BYTES, ImageRecord
from core.database import Database, insert_into
from core.errors import ObjectCorrupt, ObjectNotFound
from core.jobs import transitions
from core.storage import Storage
from core.storage.keys import RECORDS, REFERENCES, digest_in
from models.batch import Batch
from models.description import DescriptionRecord
from models.image import Image, ImageState
from models.owner import DEFAULT_OWNER
from models.pending_deletion import PendingDeletion

_AT_ONCE = 500
"""Records in one transaction."""

_READS_AT_ONCE = 8

OnProgress = Callable[[int], object]
"""Told how many more records or streams were looked at."""


@dataclass
class Rebuilt:
    """What a rebuild did. `unreadable` are keys of records or streams that could not be read, each with the reason."""

    images: int = 0
    streams: int = 0
    """Taken in without a record."""
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredRecord:
    """A record and the object that it was read from."""

    record: ImageRecord
    object: Entry


def rebuild(database: Database, storage: Storage, on_progress: OnProgress = lambda _count: None) -> Rebuilt:
    """Restore every image that has a record in storage and is not in the database, and note what lies in packs.

    Raises what the store and the database raise; a record or pack that cannot be read is passed over and told.
    """
    rebuilt = Rebuilt()
    # What lies in a pack has to be known first: it is not entered as an object of its own then.
    packs = _enter_packs(database, storage, rebuilt)
    # Of an image that changed there may be two for a moment. The later is restored, the other is then unknown.
    infos = sorted(storage.list(RECORDS), key=lambda info: info.modified_at, reverse=True)
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for lot in _lots([info.key for info in infos]):
            found = list(pool.map(lambda key: read_record(database, storage, key), lot))
            for key, outcome in zip(lot, found, strict=True):
                if isinstance(outcome, str):
                    rebuilt.unreadable[key] = outcome
            with database.write() as session:
                rebuilt.images += restore(session, [one for one in found if isinstance(one, StoredRecord)])
            on_progress(len(lot))
    # A record that was packed is older than one that lies loose.
    for pack in packs:
        _restore_packed(database, storage, pack, rebuilt, on_progress)
    return rebuilt


def rebuild_packs(database: Database, storage: Storage) -> Rebuilt:
    """The same for what lies in packs alone."""
    rebuilt = Rebuilt()
    for pack in _enter_packs(database, storage, rebuilt):
        _restore_packed(database, storage, pack, rebuilt, lambda _count: None)
    return rebuilt


def _enter_packs(database: Database, storage: Storage, rebuilt: Rebuilt) -> list[str]:
    """Make the rows of all stored packs that have none; returns the keys of packs, those written last first."""
    keys: list[str] = []
    loose: set[str] | None = None
    for found in recovery.compare(database, storage):
        if found.is_damaged:
            rebuilt.unreadable[found.key] = found.reason
            continue
        if found.unlisted:
            loose = recovery.loose_keys(storage) if loose is None else loose
            with database.write() as session:
                recovery.enter(session, found, loose)
        keys.append(found.key)
    return keys


def _restore_packed(database: Database, storage: Storage, pack: str, rebuilt: Rebuilt, on_progress: OnProgress) -> None:
    """Restore the images whose records live in a pack, which is read once."""
    with database.read() as session:
        living = [Member(*row) for row in members.living_in(session, pack)]
        records = _unnamed(session, [member for member in living if member.key.startswith(RECORDS)])
    unread = {member.key for member in records}
    found = pack_file.read_members(storage, pack, records)
    while lot := list(islice(found, _AT_ONCE)):
        restorable: list[StoredRecord] = []
        for member, data in lot:
            try:
                record = ImageRecord.from_bytes(data, member.key)
                restorable.append(StoredRecord(record, Entry(member.key, member.sha256, len(data))))
            except ObjectCorrupt as error:
                rebuilt.unreadable[member.key] = str(error)
            unread.discard(member.key)
        with database.write() as session:
            rebuilt.images += restore(session, restorable)
        on_progress(len(lot))
    rebuilt.unreadable |= {key: f"{key} does not have its digest in {pack}" for key in sorted(unread)}


def _unnamed(session: Session, records: Sequence[Member]) -> list[Member]:
    """Those of the records that no image names."""
    named: set[str | None] = set()
    for lot in members.lots([record.sha256 for record in records]):
        named.update(session.scalars(select(Image.record_sha256).where(Image.record_sha256.in_(lot))))
    return [record for record in records if record.sha256 not in named]


def read_record(database: Database, storage: Storage, key: str) -> StoredRecord | str:
    """The record under a key, verified; or why there is none."""
    try:
        data = places.get(database, storage, key, MAX_RECORD_BYTES)
        return StoredRecord(ImageRecord.from_bytes(data, key), Entry(key, digest_in(key) or "", len(data)))
    except (ObjectCorrupt, ObjectNotFound) as error:
        return str(error)


def restore(session: Session, found: Sequence[StoredRecord]) -> int:
    """Insert the images of these records that are not there, with all that belongs to them; returns how many."""
    new = _not_there(session, found)
    parts = [one.record for one in new.values()]
    if not parts:
        return 0
    batches = {part.batch.id: part.batch.model_dump() for part in parts if part.batch is not None}
    if batches:
        session.execute(insert_into(session, Batch).on_conflict_do_nothing(), list(batches.values()))
    session.execute(insert_into(session, Image), [_image_row(one) for one in new.values()])
    descriptions = [
        {"image_id": part.image.id} | part.description.model_dump() for part in parts if part.description is not None
    ]
    if descriptions:
        session.execute(insert_into(session, DescriptionRecord), descriptions)
    search.index_new_images(
        session,
        [(part.image.id, part.image.name, part.description.content if part.description else None) for part in parts],
    )
    transitions.restore_encodes(
        session,
        [
            part.job.model_dump() | {"image_id": part.image.id, "batch_id": part.batch and part.batch.id}
            for part in parts
            if part.job is not None
        ],
    )
    inventory.enter(session, [entry for one in new.values() for entry in _entries_of(one)])
    return len(new)


def take_in(database: Database, storage: Storage, on_progress: OnProgress = lambda _count: None) -> Rebuilt:
    """Make images of streams that no record names, called after their digests: those of an archive that had no
    records. Streams of images that were deleted within the last hour are among them."""
    rebuilt = Rebuilt()
    for info in bitstreams.stored(storage):
        assert info.sha256 is not None
        with database.read() as session:
            is_known = bool(inventory.known(session, [info.key]))
        if not is_known:
            _try_to_take_in(database, storage, info.sha256, rebuilt)
        on_progress(1)
    with database.read() as session:
        unreferred = members.streams_without_image(session)
    for sha256 in unreferred:
        _try_to_take_in(database, storage, sha256, rebuilt)
        on_progress(1)
    return rebuilt


def _try_to_take_in(database: Database, storage: Storage, sha256: str, rebuilt: Rebuilt) -> None:
    try:
        _take_in(database, storage, sha256)
        rebuilt.streams += 1
    except (CodecError, ObjectCorrupt) as error:
        rebuilt.unreadable[bitstreams.entry_of(sha256, 0).key] = str(error)


def _take_in(database: Database, storage: Storage, sha256: str) -> None:
    unpacked = unpack(bitstreams.get(database, storage, sha256))
    coarse = unpacked.stream.coarse
    reference = _reference(storage, coarse.digest) if isinstance(coarse, ExternalCoarse) else None
    bitstreams.reserve(database, sha256)
    if reference is not None:
        object_lifecycle.reserve(database, reference.key)
    new = NewStream(DEFAULT_OWNER, f"{sha256[:12]}.misc", sha256, unpacked.stream, unpacked.bits, reference)
    with database.write() as session:
        images.import_bitstream(session, new)


def _reference(storage: Storage, digest: bytes) -> NewObject | None:
    """The stored reference picture whose digest begins like this."""
    for info in storage.list(f"{REFERENCES}{digest.hex()}"):
        return NewObject(info.key, digest_in(info.key) or "", info.size_bytes)
    return None


def _not_there(session: Session, found: Sequence[StoredRecord]) -> dict[str, StoredRecord]:
    """Those whose image is not in the database and whose object is not to be deleted, by id; the first of an image."""
    first = {one.record.image.id: one for one in reversed(found)}
    known = set(session.scalars(select(Image.id).where(Image.id.in_(first))))
    keys = [one.object.key for one in first.values()]
    going = set(session.scalars(select(PendingDeletion.key).where(PendingDeletion.key.in_(keys))))
    return {image_id: one for image_id, one in first.items() if image_id not in known and one.object.key not in going}


def _image_row(one: StoredRecord) -> dict[str, object]:
    batch = one.record.batch
    return one.record.image.model_dump() | {
        "state": ImageState.READY,
        "batch_id": batch and batch.id,
        "record_sha256": one.object.sha256,
    }


def _entries_of(one: StoredRecord) -> Iterator[Entry]:
    """The objects that an image with this record refers to; of references the size is not recorded."""
    image = one.record.image
    yield one.object
    yield bitstreams.entry_of(image.bitstream_sha256, image.bitstream_bytes)
    if image.original_key is not None and image.original_sha256 is not None:
        yield Entry(image.original_key, image.original_sha256, image.original_bytes)
    if image.reference_key is not None and (sha256 := digest_in(image.reference_key)) is not None:
        yield Entry(image.reference_key, sha256, None)


def _lots(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
