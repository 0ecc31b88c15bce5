"""Deletes the objects of streams and records that live in a pack by now, many at a time.

The steps are those of a sweep (`core.archive.object_lifecycle`): claim, delete, end the claim. Whatever is not as plain
as it should be here is left to that.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from core.archive.object_lifecycle import LONGEST_DELAY
from core.archive.packs import members
from core.database import Database
from core.errors import ServiceError
from core.logging import get_logger
from core.storage import Storage
from core.storage.keys import BITSTREAMS, RECORDS, digest_in
from models.base import new_id, utc_now
from models.image import Image
from models.pack_member import PackMember
from models.pending_deletion import PendingDeletion
from models.stored_object import StoredObject

_log = get_logger(__name__)

_AT_ONCE = 400
_DELETIONS_AT_ONCE = 8
"""A lot is deleted within seconds, long before its claim may be taken over."""


def sweep_copies(database: Database, storage: Storage) -> int:
    """Delete all that are due; returns how many. What a store did not delete is left to the next sweep."""
    deleted = 0
    while keys := _delete_lot(database, storage):
        deleted += keys
    if deleted:
        _log.info("packed_objects_deleted", count=deleted)
    return deleted


def _delete_lot(database: Database, storage: Storage) -> int:
    token = new_id("del")
    with database.write() as session:
        keys = _claim(session, token)
    if not keys:
        return 0
    with ThreadPoolExecutor(_DELETIONS_AT_ONCE) as pool:
        gone = [key for key in pool.map(lambda key: _delete(storage, key), keys) if key is not None]
    with database.write() as session:
        is_ours = PendingDeletion.deletion_token == token
        session.execute(delete(PendingDeletion).where(is_ours, PendingDeletion.key.in_(gone)))
        # The others stay blocked, as after any deletion that was not answered.
        session.execute(update(PendingDeletion).where(is_ours).values(deletion_token=None))
    return len(gone)


def _claim(session: Session, token: str) -> Sequence[str]:
    """Claim deletions of objects that lie in packs, and that rows refer to: of others the member has to go too."""
    now = utc_now()
    query = (
        select(PendingDeletion.key)
        .where(
            PendingDeletion.due_at <= now,
            PendingDeletion.deletion_token.is_(None),
            PendingDeletion.blocked_until.is_(None),
            exists().where(PackMember.key == PendingDeletion.key, PackMember.deleted_at.is_(None)),
        )
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    due = session.scalars(query).all()
    # Once more, since a rewrite may have been committed after this statement began, and what is locked stays.
    keys = sorted(_needed(session, due) & members.living(session, due))
    values = {"deletion_token": token, "blocked_until": now + LONGEST_DELAY}
    session.execute(update(PendingDeletion).where(PendingDeletion.key.in_(keys)).values(**values))
    session.execute(delete(StoredObject).where(StoredObject.key.in_(keys)))
    return keys


def _needed(session: Session, keys: Sequence[str]) -> set[str]:
    """Those that an image refers to."""
    streams = {digest_in(key): key for key in keys if key.startswith(BITSTREAMS)}
    records = {digest_in(key): key for key in keys if key.startswith(RECORDS)}
    needed = session.scalars(select(Image.bitstream_sha256).where(Image.bitstream_sha256.in_(streams)))
    kept = session.scalars(select(Image.record_sha256).where(Image.record_sha256.in_(records)))
    return {streams[sha256] for sha256 in needed} | {records[sha256] for sha256 in kept}


def _delete(storage: Storage, key: str) -> str | None:
    try:
        storage.delete(key)
    except ServiceError as error:
        _log.warning("object_not_deleted", key=key, code=error.code, error=str(error))
        return None
    return key
