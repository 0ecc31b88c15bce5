"""What an object is to the archive, by its key, and which rows refer to it."""

from sqlalchemy import ColumnElement, exists

from core.storage.keys import (
    BITSTREAMS,
    NETWORKS,
    ORIGINALS,
    PACKS,
    RECONSTRUCTIONS,
    RECORDS,
    REFERENCES,
    REQUESTS,
    check_key,
    digest_in,
)
from models.description_request import DescriptionRequest
from models.image import Image
from models.pack_member import PackMember
from models.reconstruction import Reconstruction
from models.stored_object import ObjectKind, StoredObject

_KINDS = {
    BITSTREAMS: ObjectKind.BITSTREAM,
    ORIGINALS: ObjectKind.ORIGINAL,
    RECONSTRUCTIONS: ObjectKind.RECONSTRUCTION,
    REFERENCES: ObjectKind.REFERENCE,
    REQUESTS: ObjectKind.REQUEST,
    RECORDS: ObjectKind.RECORD,
    PACKS: ObjectKind.PACK,
    NETWORKS: ObjectKind.NETWORK,
}


def kind_of(key: str) -> ObjectKind:
    """What the object of this key is to the archive."""
    return _KINDS[check_key(key).partition("/")[0] + "/"]


def kind_of_folder(folder: str) -> ObjectKind:
    """What the objects of a folder (`bitstreams/`) are to the archive."""
    return _KINDS[folder]


def is_referred_to(key: str) -> ColumnElement[bool]:
    """Whether a row refers to the object, wherever its bytes lie; to a pack, whether a member of it lives."""
    match kind_of(key):
        case ObjectKind.BITSTREAM:
            return exists().where(Image.bitstream_sha256 == digest_in(key))
        case ObjectKind.RECONSTRUCTION:
            return exists().where(Reconstruction.object_key == key)
        case ObjectKind.REQUEST:
            return exists().where(DescriptionRequest.object_key == key)
        case ObjectKind.ORIGINAL:
            return exists().where(Image.original_key == key)
        case ObjectKind.REFERENCE:
            return exists().where(Image.reference_key == key)
        case ObjectKind.RECORD:
            return exists().where(Image.record_sha256 == digest_in(key))
        case ObjectKind.PACK:
            return exists().where(PackMember.pack_key == key, PackMember.deleted_at.is_(None))
        case ObjectKind.NETWORK:
            # No row names the networks that are needed later: what was stored whole stays.
            return exists().where(StoredObject.key == key)
