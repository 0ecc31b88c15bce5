"""Reference pictures of outside codecs, stored beside the streams that name them; shared by digest, like streams."""

from codec.limits import MAX_REFERENCE_BYTES
from codec.media import suffix_of
from core.archive import object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.database import Database
from core.storage import Storage
from core.storage.keys import digest_in, reference_key
from models.image import Image


def new_reference(sha256: str, size_bytes: int, media_type: str) -> NewObject:
    """The object that a reference picture of this type is to become."""
    return NewObject(reference_key(sha256, suffix_of(media_type)[1:]), sha256, size_bytes)


def get(database: Database, storage: Storage, image: Image) -> bytes | None:
    """The reference of an image, or None without one; raises ObjectNotFound, and ObjectCorrupt, which is noted."""
    if image.reference_key is None:
        return None
    sha256 = digest_in(image.reference_key)
    with object_lifecycle.damage_noted(database, image.reference_key):
        return storage.get(image.reference_key, max_bytes=MAX_REFERENCE_BYTES, sha256=sha256)
