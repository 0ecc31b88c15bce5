"""What can be done about an object that storage lost or damaged, without a copy of it: make it again, or let go of what
can be made again. Each says what was done, or None where nothing can be."""

from collections.abc import Callable, Mapping

from sqlalchemy import select

from core.archive import object_lifecycle, reconstructions
from core.archive.object_kinds import kind_of
from core.archive.records import outdate
from core.database import Database
from core.storage.keys import digest_in
from models.image import Image
from models.reconstruction import Reconstruction
from models.stored_object import ObjectKind


def repair(database: Database, key: str) -> str | None:
    """Do what can be done for an object of this kind."""
    mend = _MENDS.get(kind_of(key))
    return mend(database, key) if mend is not None else None


def delete_spare(database: Database, key: str) -> str:
    """Delete what can be made again, and nothing refers to."""
    with database.write() as session:
        object_lifecycle.drop(session, key, shared=False)
    return "it is deleted: it can be made again"


def _rewrite_record(database: Database, key: str) -> str:
    with database.write() as session:
        query = select(Image).where(Image.record_sha256 == digest_in(key)).with_for_update(of=Image)
        for image in session.scalars(query):
            outdate(session, image)
    return "the record is written anew"


def _write_off(database: Database, key: str) -> str:
    with database.write() as session:
        ids = session.scalars(select(Reconstruction.id).where(Reconstruction.object_key == key)).all()
        for reconstruction_id in ids:
            reconstructions.write_off(session, reconstruction_id)
    return "it can be ordered again"


_MENDS: Mapping[ObjectKind, Callable[[Database, str], str]] = {
    ObjectKind.RECORD: _rewrite_record,
    ObjectKind.RECONSTRUCTION: _write_off,
}
