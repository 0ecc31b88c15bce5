"""Writes the records of images that have none: those of new streams at once, those of earlier versions in time.

A record is made of what is committed, so it follows its stream by a second. Any process may write at any time: the
bytes are the same.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.archive.object_lifecycle import NewObject, put_reserved, reserve_each, retain
from core.archive.records.record import BatchPart, DescriptionPart, ImagePart, ImageRecord, JobPart
from core.background import Periodic
from core.broker import Broker
from core.database import Database
from core.jobs import queries
from core.logging import get_logger
from core.storage import Storage
from core.storage.keys import record_key
from core.version import service_version
from models.base import new_id
from models.batch import Batch
from models.image import Image, ImageState

_log = get_logger(__name__)

_PASS_SECONDS = 1.0
_BATCH = 200
"""Records in one pass and one transaction: few enough to hold nobody up."""

_PUTS_AT_ONCE = 8
"""A store answers in tens of milliseconds, and serves several at a time."""


class RecordWriter:
    """One thread a process, of which one process at a time does the work."""

    def __init__(self, database: Database, broker: Broker, storage: Storage) -> None:
        self._database, self._broker, self._storage = database, broker, storage
        self._holder = new_id("rcw")
        self._thread = Periodic("records", _PASS_SECONDS, self._lead_pass)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def _lead_pass(self) -> None:
        # Two that write at once write the same.
        if self._broker.acquire_leadership("records", self._holder, 10.0):
            write_missing(self._database, self._storage)


def write_missing(database: Database, storage: Storage) -> int:
    """Write the records of up to 200 images that have none; returns how many. Raises what the store raises."""
    with database.read() as session:
        drafts = {draft.image_id: draft for draft in map(_Draft.of, _records_of(session, _without(session)))}
    if not drafts:
        return 0
    free = set(reserve_each(database, (draft.object.key for draft in drafts.values())))
    drafts = {image_id: draft for image_id, draft in drafts.items() if draft.object.key in free}
    with ThreadPoolExecutor(_PUTS_AT_ONCE) as pool:
        # The first error is raised, and what was written then is swept or found there.
        list(pool.map(lambda draft: put_reserved(database, storage, draft.object, draft.data), drafts.values()))
    with database.write() as session:
        written = sum(_note(session, draft.image_id, draft) for _, draft in sorted(drafts.items()))
    _log.info("records_written", count=written)
    return written


@dataclass(frozen=True)
class _Draft:
    """The bytes of a record, and whose it is."""

    image_id: str
    data: bytes
    object: NewObject

    @classmethod
    def of(cls, record: ImageRecord) -> "_Draft":
        data = record.to_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(record.image.id, data, NewObject(record_key(sha256), sha256, len(data)))


def _without(session: Session) -> list[str]:
    """Ids of images whose stream is stored and whose record is not."""
    query = select(Image.id).where(Image.record_sha256.is_(None), Image.state == ImageState.READY)
    return list(session.scalars(query.limit(_BATCH)))


def count_missing(session: Session) -> int:
    """How many images have a stream and no record."""
    query = select(func.count()).select_from(Image)
    return session.scalar(query.where(Image.record_sha256.is_(None), Image.state == ImageState.READY)) or 0


def _note(session: Session, image_id: str, draft: _Draft) -> bool:
    """Have the image name its record, if it still is what the record says."""
    image = session.get(Image, image_id, with_for_update={"of": Image}, populate_existing=True)
    if image is None or image.record_sha256 is not None:
        return False
    if [_Draft.of(record) for record in _records_of(session, [image_id])] != [draft]:
        return False
    retain(session, draft.object)
    image.record_sha256 = draft.object.sha256
    return True


def _records_of(session: Session, image_ids: Sequence[str]) -> list[ImageRecord]:
    """What the database knows of these images."""
    images = session.scalars(select(Image).where(Image.id.in_(image_ids))).all()
    batch_ids = {image.batch_id for image in images if image.batch_id is not None}
    batches = {batch.id: batch for batch in session.scalars(select(Batch).where(Batch.id.in_(batch_ids)))}
    jobs = queries.encodes_of(session, image_ids)
    return [
        ImageRecord(
            software=service_version(),
            image=ImagePart.model_validate(image),
            batch=None if image.batch_id is None else BatchPart.model_validate(batches[image.batch_id]),
            description=image.description and DescriptionPart.model_validate(image.description),
            job=JobPart.model_validate(jobs[image.id]) if image.id in jobs else None,
        )
        for image in images
    ]
