"""Reads streams and records wherever they lie: as objects of their own, or as so many bytes of a pack."""

import hashlib
from dataclasses import replace

from core.archive.packs import members
from core.archive.packs.members import Place
from core.database import Database
from core.errors import ObjectNotFound
from core.storage import ObjectReader, Storage
from core.storage.keys import digest_in
from core.storage.verified import verified

_TRIES = 3
"""What is read may be packed meanwhile, and its pack be rewritten."""


def open_key(database: Database, storage: Storage, key: str, *, fresh: bool = False) -> ObjectReader:
    """Open what has this key; raises ObjectNotFound. `fresh` as in `Storage.open`."""
    place = place_of(database, key)
    for _ in range(_TRIES):
        try:
            return open_at(storage, key, place, fresh=fresh)
        except ObjectNotFound:
            former, place = place, place_of(database, key)
            if place == former:
                raise
    raise ObjectNotFound(f"{key} is moved too often to be read")


def get(database: Database, storage: Storage, key: str, max_bytes: int) -> bytes:
    """All bytes of what has this key; raises ObjectNotFound, ObjectCorrupt, see `Storage.get`."""

    def _read(fresh: bool) -> tuple[str, bytes]:
        with open_key(database, storage, key, fresh=fresh) as reader:
            data = reader.read_whole(max_bytes)
        return hashlib.sha256(data).hexdigest(), data

    return verified(_read, key, digest_in(key) or "")


def place_of(database: Database, key: str) -> Place:
    """Where the bytes of a key lie now."""
    with database.read() as session:
        return members.place_of(session, key)


def open_at(storage: Storage, key: str, place: Place, *, fresh: bool = False) -> ObjectReader:
    """Open what has this key and lies there; raises ObjectNotFound."""
    if place.size_bytes is None:
        return storage.open(place.object_key, fresh=fresh)
    reader = storage.open(place.object_key, start=place.start, end=place.start + place.size_bytes, fresh=fresh)
    info = replace(reader.info, key=key, size_bytes=place.size_bytes, sha256=digest_in(key), etag=None)
    return ObjectReader(info, iter(reader), reader.close)
