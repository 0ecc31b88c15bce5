"""From an uploaded file to an image with its job, for one picture or many; leaves nothing behind when it fails."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from anyio import to_thread
from sqlalchemy.orm import Session

from api.images.references import Reference
from api.services import Services
from api.uploads import UploadedFile
from codec.media import suffix_of
from codec.options import EncodeOptions
from codec.picture.open import PictureInfo, check_picture
from core.archive import images, object_lifecycle
from core.errors import DatabaseUnavailable, ServiceError
from core.logging import get_logger
from core.storage.keys import original_key
from models.base import new_id
from models.image import Image

_log = get_logger(__name__)


@dataclass(frozen=True)
class Arrival:
    """A picture that was checked and has a place in storage. `key` follows from what it is, not from its name."""

    image_id: str
    file: UploadedFile
    info: PictureInfo

    @property
    def key(self) -> str:
        """Where the original lies."""
        return original_key(self.image_id, suffix_of(self.info.media_type)[1:])


async def check_upload(services: Services, file: UploadedFile) -> Arrival:
    """Read the picture to its end, few at a time; raises PictureError children and FeatureUnavailable."""
    check = partial(check_picture, file.path, max_pixels=services.settings.max_pixels)
    info = await to_thread.run_sync(check, limiter=services.picture_slots)
    return Arrival(new_id("img"), file, info)


def store(services: Services, arrival: Arrival) -> None:
    """Put the original where no job can find it missing, before any row refers to it."""
    object_lifecycle.reserve(services.database, arrival.key)
    services.storage.put(
        arrival.key, arrival.file.path, content_type=arrival.info.media_type, sha256=arrival.file.sha256
    )


@contextlib.contextmanager
def removed_on_failure(services: Services, arrivals: list[Arrival]) -> Iterator[None]:
    """Take the originals out of storage again when the block raises.

    Not when the database went away: it may have committed before it did. The reservations tell later.
    """
    try:
        yield
    except DatabaseUnavailable:
        raise
    except BaseException:
        for arrival in arrivals:
            _remove(services, arrival)
        raise


def record(
    session: Session,
    services: Services,
    arrival: Arrival,
    options: EncodeOptions,
    *,
    keep_original: bool,
    batch_id: str | None,
    request_id: str | None,
    reference: Reference | None = None,
    reference_bpp: float | None = None,
) -> tuple[Image, str]:
    """Insert the image with its job, in the caller's transaction; returns the image and the job's id."""
    image, job_id = images.submit(
        session,
        image_id=arrival.image_id,
        name=arrival.file.name,
        width=arrival.info.width,
        height=arrival.info.height,
        media_type=arrival.info.media_type,
        original_key=arrival.key,
        original_bytes=arrival.file.size_bytes,
        original_sha256=arrival.file.sha256,
        options=options,
        keep_original=keep_original,
        max_attempts=services.max_attempts,
        batch_id=batch_id,
        reference_key=None if reference is None else reference.key,
        request_id=request_id,
    )
    if reference_bpp is not None:
        image.declared_bits = round(reference_bpp * image.width * image.height)
    return image, job_id


def _remove(services: Services, arrival: Arrival) -> None:
    try:
        services.storage.delete(arrival.key)
        with services.database.write() as session:
            object_lifecycle.forget(session, arrival.key)
    except ServiceError as error:
        # The reservation is still there, so a sweep removes the object later.
        _log.warning("original_not_removed", key=arrival.key, code=error.code, error=str(error))
