"""Images in the archive: submitting, taking in, listing, deleting. Every function works in the caller's transaction."""

from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from codec.bitstream import Bits, ExternalCoarse, Stream, Texts
from codec.media import BINARY
from codec.options import EncodeOptions
from core.archive import object_lifecycle
from core.broker import ENCODE
from core.errors import NotFound
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.paging import Page
from core.storage.keys import bitstream_key
from models.base import new_id
from models.description import DescriptionRecord
from models.image import Image, ImageState
from models.job import JobKind
from models.reconstruction import Reconstruction


def submit(
    session: Session,
    *,
    image_id: str,
    name: str,
    width: int,
    height: int,
    media_type: str,
    original_key: str,
    original_bytes: int,
    original_sha256: str,
    options: EncodeOptions,
    keep_original: bool,
    max_attempts: int,
    batch_id: str | None = None,
    reference_key: str | None = None,
    request_id: str | None = None,
) -> tuple[Image, str]:
    """Record an uploaded picture and its encode job; returns the image and the job's id.

    The original must have been reserved (`core.archive.object_lifecycle`) and be in storage under `original_key`
    already, so that no job can find it missing; the same holds for the reference.
    """
    image = Image(
        id=image_id,
        name=name,
        state=ImageState.PENDING,
        batch_id=batch_id,
        width=width,
        height=height,
        media_type=media_type,
        original_key=original_key,
        original_bytes=original_bytes,
        original_sha256=original_sha256,
        keep_original=keep_original,
        reference_key=reference_key,
        options=options.model_dump(mode="json"),
    )
    object_lifecycle.keep(session, original_key)
    if reference_key is not None:
        object_lifecycle.keep(session, reference_key)
    session.add(image)
    session.flush()
    spec = JobSpec(
        JobKind.ENCODE,
        ENCODE,
        image_id=image.id,
        batch_id=batch_id,
        request_id=request_id,
        max_attempts=max_attempts,
    )
    return image, transitions.create(session, spec)


def import_bitstream(session: Session, *, name: str, stream: Stream, bits: Bits, sha256: str) -> Image:
    """Record a stream made elsewhere, which was reserved (`core.archive.object_lifecycle`) and stored already."""
    image = Image(
        id=new_id("img"),
        name=name,
        width=stream.width,
        height=stream.height,
        media_type=BINARY,
        options={},
        keep_original=False,
    )
    session.add(image)
    record_stream(session, image, stream, bits, sha256)
    if stream.texts != Texts():
        session.flush()
        items = [{"name": "", "detail": detail} for detail in stream.texts.details]
        content = {"items": items, "overall": stream.texts.overall}
        session.add(DescriptionRecord(image_id=image.id, describer="given", content=content))
    return image


def record_stream(session: Session, image: Image, stream: Stream, bits: Bits, sha256: str) -> None:
    """Note on the image what its stored stream holds; the image is ready from then on."""
    object_lifecycle.keep(session, bitstream_key(sha256))
    image.state = ImageState.READY
    image.bitstream_sha256 = sha256
    image.bitstream_bytes = bits.total // 8
    image.bits = asdict(bits)
    image.mode = str(stream.coarse.kind)
    image.profile = stream.profile
    if isinstance(stream.coarse, ExternalCoarse):
        image.declared_bits = stream.coarse.declared_bits
    if stream.maps is not None:
        edge = stream.maps.edge
        image.maps = [
            ["".join(map(str, mask[row * edge : (row + 1) * edge])) for row in range(edge)]
            for mask in stream.maps.masks
        ]


def get(session: Session, image_id: str) -> Image:
    """The image with its description; raises NotFound."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFound(f"There is no image {image_id!r}.")
    return image


def list_images(
    session: Session,
    *,
    limit: int,
    before: str | None = None,
    state: ImageState | None = None,
    batch_id: str | None = None,
) -> Page[Image]:
    """Newest first."""
    query = select(Image).order_by(Image.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Image.id < before)
    if state is not None:
        query = query.where(Image.state == state)
    if batch_id is not None:
        query = query.where(Image.batch_id == batch_id)
    rows = list(session.scalars(query))
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def delete_image(session: Session, image_id: str) -> None:
    """Delete an image with its jobs and reconstructions; objects that nothing needs any more are swept later."""
    image = session.get(Image, image_id, with_for_update={"of": Image}, populate_existing=True)
    if image is None:
        raise NotFound(f"There is no image {image_id!r}.")
    reconstructions = list(session.scalars(select(Reconstruction).where(Reconstruction.image_id == image_id)))
    own_ids = [row.id for row in reconstructions]
    if image.original_key is not None:
        object_lifecycle.discard(session, image.original_key, shared=False)
    shared = {row.object_key for row in reconstructions} | {image.reference_key}
    if image.bitstream_sha256 is not None:
        shared.add(bitstream_key(image.bitstream_sha256))
    # In one order, so that two transactions that share objects cannot wait for each other.
    for key in sorted(key for key in shared if key is not None):
        object_lifecycle.discard(session, key, shared=True)
    transitions.delete_of_image(session, image_id)
    session.execute(delete(Reconstruction).where(Reconstruction.id.in_(own_ids)))
    session.execute(delete(DescriptionRecord).where(DescriptionRecord.image_id == image_id))
    session.expunge(image)
    session.execute(delete(Image).where(Image.id == image_id))
