"""What can be done about an object that storage lost or damaged, without a copy of it: make it again, or let go of what
can be made again. Each says what was done, or None where nothing can be."""

from collections.abc import Callable, Mapping

from sqlalchemy import select

from core.archive import object_lifecycle, reconstructions
from core.archive.object_kinds import kind_of
from core.archive.packs.salvage import salvage
from core.archive.records import outdate
from core.database import Database
from core.storage.keys import digest_in
from core.storage.mirrored import Copies
from models.image import Image
from models.reconstruction import Reconstruction
from models.stored_object import ObjectKind


def repair(database: Database, copies: Copies, key: str) -> str | None:
    """Do what can be done for an object of this kind."""
    mend = _MENDS.get(kind_of(key))
    return mend(database, copies, key) if mend is not None else None


def delete_spare(database: Database, key: str) -> str:
    """Delete what can be made again, and nothing refers to."""
    with database.write() as session:
        object_lifecycle.drop(session, key, shared=False)
    return "it is deleted: it can be made again"


def _rewrite_record(database: Database, _copies: Copies, key: str) -> str:
    with database.write() as session:
        query = select(Image).where(Image.record_sha256 == digest_in(key)).with_for_update(of=Image)
        for image in session.scalars(query):
            outdate(session, image)
    return "the record is written anew"


def _write_off(database: Database, _copies: Copies, key: str) -> str:
    with database.write() as session:
        ids = session.scalars(select(Reconstruction.id).where(Reconstruction.object_key == key)).all()
        for reconstruction_id in ids:
            reconstructions.write_off(session, reconstruction_id)
    return "it can be ordered again"


def _salvage(database: Database, copies: Copies, key: str) -> str | None:
    """None while streams are lost that nothing else has: whoever looks is to see them."""
    salvaged = salvage(database, copies, key)
    records = [lost for lost in salvaged.lost if kind_of(lost) is ObjectKind.RECORD]
    for lost in records:
        _rewrite_record(database, copies, lost)
    if len(records) < len(salvaged.lost):
        return None
    return f"{salvaged.kept} streams and records in it were packed again, {len(records)} records are written anew"


_MENDS: Mapping[ObjectKind, Callable[[Database, Copies, str], str | None]] = {
    ObjectKind.RECORD: _rewrite_record,
    ObjectKind.RECONSTRUCTION: _write_off,
    ObjectKind.PACK: _salvage,
}
