"""The stored files of an image and of its reconstructions, as they are sent."""

from functools import partial

from api.downloads import Download, renamed
from api.services import Services
from codec.media import MISC, media_type_of
from core.archive import addresses, bitstreams, object_lifecycle
from core.errors import NotFound, NotReady
from models.image import Image
from models.reconstruction import Reconstruction, ReconstructionState


def stream_of(services: Services, image: Image) -> Download:
    """The `.misc` file; raises NotReady."""
    if image.bitstream_sha256 is None or image.bitstream_bytes is None:
        raise NotReady(f"Image {image.id} is {image.state}; it has no stream yet.")
    return Download(
        open=partial(bitstreams.open, services.database, services.storage, image.bitstream_sha256),
        note_damaged=partial(bitstreams.note_damaged, services.database, image.bitstream_sha256),
        presign=partial(bitstreams.presigned_url, services.database, services.storage, image.bitstream_sha256),
        sha256=image.bitstream_sha256,
        size_bytes=image.bitstream_bytes,
        media_type=MISC,
        name=renamed(image.name, "misc"),
    )


def original_of(services: Services, image: Image) -> Download:
    """What was handed in; raises NotFound."""
    if image.original_key is None or image.original_bytes is None or image.original_sha256 is None:
        raise NotFound(f"The original of image {image.id} was not kept.")
    return Download(
        open=partial(services.storage.open, image.original_key),
        note_damaged=partial(object_lifecycle.note_damaged, services.database, image.original_key),
        presign=partial(addresses.presigned_url, services.database, services.storage, image.original_key),
        sha256=image.original_sha256,
        size_bytes=image.original_bytes,
        media_type=image.media_type,
        name=image.name,
        inline=True,
    )


def picture_of(services: Services, row: Reconstruction, image_name: str) -> Download:
    """The picture of a reconstruction, whose name says that it is one; raises NotReady."""
    if row.state != ReconstructionState.READY or row.object_key is None or row.sha256 is None:
        raise NotReady(f"Reconstruction {row.id} is {row.state}; it has no picture.")
    return Download(
        open=partial(services.storage.open, row.object_key),
        note_damaged=partial(object_lifecycle.note_damaged, services.database, row.object_key),
        presign=partial(addresses.presigned_url, services.database, services.storage, row.object_key),
        sha256=row.sha256,
        size_bytes=row.size_bytes or 0,
        media_type=media_type_of(row.object_key),
        name=renamed(image_name, f"reconstruction.{row.format}"),
        inline=True,
    )
