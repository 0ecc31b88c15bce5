"""Records: beside each stream what the database knows of its image, so that storage alone makes the archive again."""

from sqlalchemy.orm import Session

from core.archive import object_lifecycle
from core.storage.keys import record_key
from models.image import Image


def outdate(session: Session, image: Image) -> None:
    """Give the image's record up in this transaction: what it says has changed, and it is written anew, or the image
    goes."""
    if image.record_sha256 is not None:
        object_lifecycle.drop(session, record_key(image.record_sha256), shared=False)
        image.record_sha256 = None
