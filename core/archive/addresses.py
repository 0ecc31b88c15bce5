"""Addresses at the store that callers fetch objects from by themselves, where nobody can verify what they get."""

from core.archive import object_lifecycle
from core.archive.packs import places
from core.database import Database
from core.storage import Storage


def presigned_url(database: Database, storage: Storage, key: str, *, download_name: str) -> str | None:
    """See `Storage.presigned_url`; None for an object that was found damaged, or lies in a pack: who asks for it is
    answered here."""
    if object_lifecycle.is_damaged(database, key) or places.place_of(database, key).object_key != key:
        return None
    return storage.presigned_url(key, download_name=download_name)
