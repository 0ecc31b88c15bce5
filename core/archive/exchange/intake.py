"""Takes the images of a verified export into an archive: with their ids, names, descriptions and times.

What is there stays as it is, so an import may be repeated, and one that was interrupted goes on.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from codec.bitstream import unpack
from codec.errors import CodecError
from codec.limits import MAX_STREAM_BYTES
from core.archive import bitstreams, networks, object_lifecycle, rebuild
from core.archive.exchange.contents import revised
from core.archive.exchange.errors import ExportInvalid
from core.archive.exchange.ledger import File
from core.archive.exchange.verification import Export
from core.archive.inventory import Entry
from core.archive.networks import NetworkCard
from core.archive.object_lifecycle import NewObject
from core.archive.rebuild import StoredRecord
from core.archive.records.record import MAX_RECORD_BYTES, ImageRecord
from core.database import Database
from core.errors import ObjectCorrupt
from core.storage import CHUNK_BYTES, Storage
from core.storage.keys import NETWORKS, RECORDS, digest_in, record_key
from core.storage.mirrored import Copies
from core.temp_files import FETCHED, space_errors
from models.batch import Batch
from models.image import Image
from models.stored_object import StoredObject

_AT_ONCE = 100
"""Images in one transaction."""

_SAME = ("owner", "name", "folder", "width", "height", "bitstream_sha256")
"""What two images of one id have in common if they are the same image."""

_NO_ROOM = "The temporary folder has no room for a file of the export; make some, or set MISC_TEMP_PATH."

OnImage = Callable[[int, int], object]
"""Told how many records are done, of how many."""


@dataclass
class Imported:
    """What came of an import. `conflicts`: ids of images that are there and are others, each with the reason."""

    images: int = 0
    there_already: int = 0
    networks: int = 0
    conflicts: dict[str, str] = field(default_factory=dict)


def take_in(
    database: Database,
    copies: Copies,
    export: Export,
    owner: str | None = None,
    on_image: OnImage = lambda _done, _total: None,
) -> Imported:
    """Take in every image of a verified export, in the name of `owner` or of whom its record names.

    Raises ExportInvalid for records that contradict the rest of the export, and what the store and the database raise.
    """
    imported, storage = Imported(), copies.as_one()
    for file in export.ledger.keys(NETWORKS):
        imported.networks += _take_network(database, copies, export, file)
    total = sum(1 for _ in export.ledger.keys(RECORDS))
    done = 0
    records = export.ledger.keys(RECORDS)
    while lot := list(islice(records, _AT_ONCE)):
        _take_lot(database, storage, [_Offer.read(export, file, owner) for file in lot], imported)
        done += len(lot)
        on_image(done, total)
    return imported


def _take_network(database: Database, copies: Copies, export: Export, file: File) -> bool:
    """Keep the network of a card; False for the network itself, and for one that is kept already."""
    assert file.key is not None
    if not file.key.endswith(".json"):
        return False
    try:
        card = NetworkCard.from_bytes(export.read(file, networks.MAX_CARD_BYTES), file.key)
    except ObjectCorrupt as error:
        raise ExportInvalid(str(error)) from None
    network = export.ledger.under_key(card.key)
    if network is None or network.size_bytes != card.size_bytes:
        raise ExportInvalid(f"The network of {file.path} is not in the export.")
    if card.sha256 in networks.stored(database, copies.storage):
        return False
    with _copy(export, network) as path:
        return networks.store(database, copies, card, path)


@dataclass(frozen=True)
class _Offer:
    """An image of the export: its record as it is to be stored, and the files that it needs."""

    export: Export
    record: ImageRecord
    data: bytes
    stream: File
    original: File | None
    reference: File | None

    @classmethod
    def read(cls, export: Export, file: File, owner: str | None) -> "_Offer":
        """Read a record and see that the export has what it names."""
        assert file.key is not None
        data = export.read(file, MAX_RECORD_BYTES)
        try:
            record = ImageRecord.from_bytes(data, file.key)
        except ObjectCorrupt as error:
            raise ExportInvalid(str(error)) from None
        if owner is not None and owner != record.image.owner:
            record = _owned(record, owner)
            data = record.to_bytes()
        image = record.image
        if image.original_key is not None and not _is_own(image.original_key, image.id):
            raise ExportInvalid(f"The record of {image.id} names the original of another image.")
        stream = bitstreams.entry_of(image.bitstream_sha256, image.bitstream_bytes)
        original = reference = None
        if image.original_key is not None:
            original = _found(export, image.id, image.original_key, image.original_sha256, image.original_bytes)
        if image.reference_key is not None:
            reference = _found(export, image.id, image.reference_key, digest_in(image.reference_key))
        return cls(export, record, data, _found(export, image.id, *stream), original, reference)

    def needs(self) -> Iterator[NewObject]:
        """What is stored for it."""
        yield NewObject(bitstreams.entry_of(self.stream.sha256, 0).key, self.stream.sha256, self.stream.size_bytes)
        yield from self.objects()

    def objects(self) -> Iterator[NewObject]:
        """The same without its stream."""
        sha256 = hashlib.sha256(self.data).hexdigest()
        yield NewObject(record_key(sha256), sha256, len(self.data))
        for file in filter(None, (self.original, self.reference)):
            assert file.key is not None
            yield NewObject(file.key, file.sha256, file.size_bytes)

    def as_stored(self) -> StoredRecord:
        """The record as the database takes it."""
        new = next(self.objects())
        return StoredRecord(self.record, Entry(new.key, new.sha256, new.size_bytes))


def _take_lot(database: Database, storage: Storage, offers: Sequence[_Offer], imported: Imported) -> None:
    if len({offer.record.image.id for offer in offers}) < len(offers):
        raise ExportInvalid("The export has two records of one image.")
    with database.read() as session:
        standing = _standing(session, offers)
    new = [offer for offer in offers if standing[offer.record.image.id] is None]
    for offer in new:
        if not _store(database, storage, offer):
            standing[offer.record.image.id] = "its original is there with other bytes"
    imported.images += _record(database, new, standing)
    for image_id, found in standing.items():
        if found == "":
            imported.there_already += 1
        elif found is not None:
            imported.conflicts[image_id] = found


def _record(database: Database, offers: Sequence[_Offer], standing: dict[str, str | None]) -> int:
    """Insert the images whose objects are stored, unless somebody brought them meanwhile, which `standing` then says;
    returns how many."""
    needed = {each.key: each for offer in offers for each in offer.needs()}
    with database.write() as session:
        # Another import of the same images holds these until it has recorded them, and is seen from then on.
        object_lifecycle.lock_reservations(session, needed)
        standing |= {image_id: found for image_id, found in _standing(session, offers).items() if found is not None}
        new = [offer for offer in offers if standing[offer.record.image.id] is None]
        # Each once, since images share objects.
        for key in sorted({each.key for offer in new for each in offer.needs()}):
            object_lifecycle.retain(session, needed[key])
        return rebuild.restore(session, [offer.as_stored() for offer in new])


def _standing(session: Session, offers: Sequence[_Offer]) -> dict[str, str | None]:
    """For each image: None where it is new, "" where it is there, else why it cannot be taken."""
    ids = [offer.record.image.id for offer in offers]
    images = {image.id: image for image in session.scalars(select(Image).where(Image.id.in_(ids))).unique()}
    batch_ids = [offer.record.batch.id for offer in offers if offer.record.batch is not None]
    batches = {batch.id: batch for batch in session.scalars(select(Batch).where(Batch.id.in_(batch_ids)))}
    return {offer.record.image.id: _standing_of(offer.record, images, batches) for offer in offers}


def _standing_of(record: ImageRecord, images: Mapping[str, Image], batches: Mapping[str, Batch]) -> str | None:
    image, batch = images.get(record.image.id), record.batch and batches.get(record.batch.id)
    if image is None:
        is_others = batch is not None and record.batch is not None and batch.owner != record.batch.owner
        return f"its batch {batch.id} is there and belongs to {batch.owner}" if is_others and batch else None
    others = [name for name in _SAME if getattr(image, name) != getattr(record.image, name)]
    described = image.description.content if image.description else None
    if described != (record.description.content if record.description else None):
        others.append("description")
    return f"it is there with another {', '.join(others)}" if others else ""


def _store(database: Database, storage: Storage, offer: _Offer) -> bool:
    """Store what the image needs; False where another original lies in the place of its own."""
    data = offer.export.read(offer.stream, MAX_STREAM_BYTES)
    _check_stream(offer.record, data)
    bitstreams.put(database, storage, data, offer.stream.sha256)
    for new in offer.objects():
        if new.sha256 == next(offer.objects()).sha256:
            object_lifecycle.store(database, storage, new, offer.data)
            continue
        file = offer.original if offer.original is not None and new.key == offer.original.key else offer.reference
        assert file is not None
        with _copy(offer.export, file) as path:
            if digest_in(new.key) is None and _is_other(database, storage, new):
                return False
            object_lifecycle.store(database, storage, new, path)
    return True


def _check_stream(record: ImageRecord, data: bytes) -> None:
    """What cannot be decoded, or is of another size, is no stream of this image, whoever signed that it is."""
    try:
        stream = unpack(data).stream
    except CodecError as error:
        raise ExportInvalid(f"The stream of {record.image.id} cannot be read: {error}") from None
    if (stream.width, stream.height) != (record.image.width, record.image.height):
        raise ExportInvalid(f"The stream of {record.image.id} is not of the size that its record says.")


def _is_own(original_key: str, image_id: str) -> bool:
    """Whether an original is named by its content, or by this image."""
    return digest_in(original_key) is not None or Path(original_key).stem == image_id


def _is_other(database: Database, storage: Storage, new: NewObject) -> bool:
    """Whether an object is stored under this key, which is not named by its content, and has other bytes."""
    with database.read() as session:
        row = session.get(StoredObject, new.key)
    if row is not None:
        return row.sha256 != new.sha256
    if not object_lifecycle.is_stored(storage, new.key):
        return False
    digest = hashlib.sha256()
    for chunk in storage.open(new.key):
        digest.update(chunk)
    return digest.hexdigest() != new.sha256


@contextmanager
def _copy(export: Export, file: File) -> Iterator[Path]:
    """A file of the export for the storage to take, which holds it against its digest once more."""
    with tempfile.TemporaryDirectory(prefix=FETCHED) as folder:
        path = Path(folder) / "file"
        with space_errors(_NO_ROOM), path.open("wb") as target, export.source.open(file) as opened:
            while chunk := opened.read(CHUNK_BYTES):
                target.write(chunk)
        yield path


def _found(export: Export, image_id: str, key: str, sha256: str | None, size_bytes: int | None = None) -> File:
    """The file with an object that a record names; raises ExportInvalid unless it has this digest and size."""
    file = export.ledger.under_key(key)
    if file is None:
        raise ExportInvalid(f"{key}, which the record of {image_id} names, is not in the export.")
    if file.sha256 != sha256 or size_bytes not in (None, file.size_bytes):
        raise ExportInvalid(f"{key} is another one than the record of {image_id} names.")
    return file


def _owned(record: ImageRecord, owner: str) -> ImageRecord:
    """The record of the same image in another's name."""
    record = revised(record, owner=owner)
    parts: dict[str, Any] = {
        name: part.model_copy(update={"owner": owner})
        for name, part in (("batch", record.batch), ("job", record.job))
        if part is not None
    }
    return record.model_copy(update=parts)
