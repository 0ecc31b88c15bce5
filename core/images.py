"""Images in the archive: submitting, taking in, listing, deleting. Every function works in the caller's transaction."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from codec.bitstream import Bits, ExternalCoarse, Stream, Texts
from codec.options import EncodeOptions
from core.errors import NotFound
from core.jobs import repository as jobs
from core.paging import Page
from core.queue import ENCODE
from core.storage.keys import bitstream_key
from models.base import new_id
from models.description import DescriptionRecord
from models.image import Image, ImageState
from models.job import Job, JobKind
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

    The original must be in storage under `original_key` already, so that no job can find it missing.
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
    session.add(image)
    session.flush()
    job_id = jobs.create(
        session,
        JobKind.ENCODE,
        ENCODE,
        max_attempts=max_attempts,
        image_id=image.id,
        batch_id=batch_id,
        request_id=request_id,
    )
    return image, job_id


def take_in(session: Session, *, name: str, stream: Stream, bits: Bits, sha256: str) -> Image:
    """Record a stream that was made elsewhere and is in storage already."""
    image = Image(
        id=new_id("img"),
        name=name,
        width=stream.width,
        height=stream.height,
        media_type="application/octet-stream",
        options={},
        keep_original=False,
    )
    session.add(image)
    record_stream(image, stream, bits, sha256)
    if stream.texts != Texts():
        session.flush()
        items = [{"name": "", "detail": detail} for detail in stream.texts.details]
        content = {"items": items, "overall": stream.texts.overall}
        session.add(DescriptionRecord(image_id=image.id, describer="given", content=content))
    return image


def record_stream(image: Image, stream: Stream, bits: Bits, sha256: str) -> None:
    """Note on the image what its stored stream holds; the image is ready from then on."""
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


def delete_image(session: Session, image_id: str) -> list[str]:
    """Delete an image with its jobs and reconstructions; returns the keys of objects that nothing needs any more.

    The objects are deleted after commit: an object too many is waste, an object too few is loss.
    """
    image = get(session, image_id)
    reconstructions = list(session.scalars(select(Reconstruction).where(Reconstruction.image_id == image_id)))
    keys = [key for key in (image.original_key, image.reference_key) if key is not None]
    shared = func.count(Image.id)
    if image.reference_key is not None and _others(session, shared, Image.reference_key == image.reference_key) > 1:
        keys.remove(image.reference_key)
    if image.bitstream_sha256 is not None:
        same = _others(session, shared, Image.bitstream_sha256 == image.bitstream_sha256)
        if same == 1:
            keys.append(bitstream_key(image.bitstream_sha256))
    own_ids = [row.id for row in reconstructions]
    for row in reconstructions:
        if row.object_key is None:
            continue
        elsewhere = (Reconstruction.object_key == row.object_key) & Reconstruction.id.not_in(own_ids)
        if _others(session, func.count(Reconstruction.id), elsewhere) == 0 and row.object_key not in keys:
            keys.append(row.object_key)
    session.execute(delete(Job).where(Job.image_id == image_id))
    if own_ids:
        session.execute(delete(Job).where(Job.reconstruction_id.in_(own_ids)))
        session.execute(delete(Reconstruction).where(Reconstruction.id.in_(own_ids)))
    session.execute(delete(DescriptionRecord).where(DescriptionRecord.image_id == image_id))
    session.expunge(image)
    session.execute(delete(Image).where(Image.id == image_id))
    return keys


def _others(session: Session, counted: Any, condition: Any) -> int:
    return session.scalar(select(counted).where(condition)) or 0
