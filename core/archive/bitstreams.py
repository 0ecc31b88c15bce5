"""Stored `.misc` files by their digest, wherever they lie. No other module knows the key of a stream."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from codec.limits import MAX_STREAM_BYTES
from core.archive import addresses, object_lifecycle
from core.archive.inventory import Entry
from core.archive.object_lifecycle import NewObject
from core.archive.packs import places
from core.database import Database
from core.errors import ObjectCorrupt
from core.storage import ObjectInfo, ObjectReader, Storage
from core.storage.keys import BITSTREAMS, bitstream_key


def put(database: Database, storage: Storage, data: bytes, sha256: str, *, replaces: bool = False) -> None:
    """Reserve and write a stream, in the place of a damaged one if it `replaces` it; a row that refers to it has to be
    recorded within the hour."""
    object_lifecycle.store(database, storage, _as_object(sha256, len(data)), data, replaces=replaces)


def reserve(database: Database, sha256: str) -> None:
    """Protect a stream that is stored already until a row refers to it."""
    object_lifecycle.reserve(database, bitstream_key(sha256))


def retain(session: Session, sha256: str, size_bytes: int) -> None:
    """Refer to a stream from this transaction on; raises StorageUnavailable, see `object_lifecycle.retain`."""
    object_lifecycle.retain(session, _as_object(sha256, size_bytes))


def lock_reservation(session: Session, sha256: str) -> bool:
    """Lock the stream's reservation for the rest of the transaction; False when there is none."""
    return object_lifecycle.lock_reservation(session, bitstream_key(sha256))


def note_verified(session: Session, sha256: str) -> None:
    """Record that the stream was read back whole and had its digest."""
    object_lifecycle.note_verified(session, bitstream_key(sha256))


def drop(session: Session, sha256: str) -> None:
    """Give up a reference in this transaction; the stream is deleted later unless another image has it."""
    object_lifecycle.drop(session, bitstream_key(sha256), shared=True)


def get(database: Database, storage: Storage, sha256: str) -> bytes:
    """A whole stream; raises ObjectNotFound, and ObjectCorrupt, which is noted, when its bytes have another digest."""
    try:
        return places.get(database, storage, bitstream_key(sha256), MAX_STREAM_BYTES)
    except ObjectCorrupt:
        note_damaged(database, sha256)
        raise


def note_damaged(database: Database, sha256: str) -> None:
    """Record that the stream was read and does not have its digest; of a packed one, that its pack is damaged. Raises
    nothing."""
    object_lifecycle.note_damaged(database, bitstream_key(sha256))


def open(database: Database, storage: Storage, sha256: str, *, fresh: bool = False) -> ObjectReader:
    """Open a whole stream; raises ObjectNotFound. `fresh` as in `Storage.open`."""
    return places.open_key(database, storage, bitstream_key(sha256), fresh=fresh)


def stored(storage: Storage) -> Iterator[ObjectInfo]:
    """All streams that are objects of their own, in no promised order; see `Storage.list`."""
    return storage.list(BITSTREAMS)


def entry_of(sha256: str, size_bytes: int) -> Entry:
    """What the catalogue has of a stream."""
    return Entry(bitstream_key(sha256), sha256, size_bytes)


def exists(storage: Storage, sha256: str) -> bool:
    """Whether the store has the stream as an object of its own."""
    return object_lifecycle.is_stored(storage, bitstream_key(sha256))


def presigned_url(database: Database, storage: Storage, sha256: str, *, download_name: str) -> str | None:
    """An address at the store that the stream can be fetched from for a while; None where it has none, or the stream
    lies in a pack."""
    return addresses.presigned_url(database, storage, bitstream_key(sha256), download_name=download_name)


def _as_object(sha256: str, size_bytes: int) -> NewObject:
    return NewObject(bitstream_key(sha256), sha256, size_bytes)
