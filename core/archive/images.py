"""Images in the archive: submitting, importing, listing, deleting. Every function works in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from codec.bitstream import Bits, ExternalCoarse, Stream, Texts
from codec.media import BINARY
from codec.options import EncodeOptions
from core.archive import batches, bitstreams, object_lifecycle, search
from core.archive.object_lifecycle import NewObject
from core.archive.records import outdate
from core.errors import NotFound
from core.jobs import queries, transitions
from core.jobs.job import JobSpec
from core.owners.view import View
from core.paging import Page, newest_page
from core.storage.keys import original_key
from models.base import JSONObject, new_id
from models.description import DescriptionRecord
from models.image import Image, ImageState
from models.reconstruction import Reconstruction


@dataclass(frozen=True)
class NewImage:
    """A picture that was checked and is to be encoded; `original` and `reference` are stored before it is submitted.

    `declared_bits` is what an outside codec spent on the reference, `folder` where the picture lay,
    `kept_metadata` when and where it was taken, where that is to be kept.
    """

    id: str
    name: str
    width: int
    height: int
    media_type: str
    original: NewObject
    options: EncodeOptions
    keep_original: bool = False
    batch_id: str | None = None
    reference: NewObject | None = None
    declared_bits: int | None = None
    folder: str | None = None
    kept_metadata: JSONObject | None = None


def with_free_originals(session: Session, new: Sequence[NewImage]) -> list[NewImage]:
    """The images, each with its original under its own id while a deletion of the same content may still be carried
    out."""
    blocked = object_lifecycle.blocked(session, {each.original.key for each in new})
    return [_with_own_original(each) if each.original.key in blocked else each for each in new]


def _with_own_original(new: NewImage) -> NewImage:
    extension = new.original.key.rpartition(".")[2]
    return replace(new, original=replace(new.original, key=original_key(new.id, extension)))


@dataclass(frozen=True)
class NewStream:
    """A stream that was made elsewhere, read and stored; `reference` is the picture that an external stream names,
    `kept_metadata` when and where the picture was taken that it was made of, where that came along."""

    owner: str
    name: str
    sha256: str
    stream: Stream
    bits: Bits
    reference: NewObject | None = None
    kept_metadata: JSONObject | None = None


def submit(session: Session, new: NewImage, job: JobSpec) -> tuple[Image, str]:
    """Record an uploaded picture and the job that encodes it; returns the image and the job's id.

    Raises StorageUnavailable when an object was swept before it was recorded; see `object_lifecycle.retain`.
    """
    for stored in filter(None, (new.original, new.reference)):
        object_lifecycle.retain(session, stored)
    image = Image(
        id=new.id,
        owner=job.owner,
        name=new.name,
        folder=new.folder,
        state=ImageState.PENDING,
        batch_id=new.batch_id,
        width=new.width,
        height=new.height,
        media_type=new.media_type,
        original_key=new.original.key,
        original_bytes=new.original.size_bytes,
        original_sha256=new.original.sha256,
        keep_original=new.keep_original,
        reference_key=None if new.reference is None else new.reference.key,
        declared_bits=new.declared_bits,
        options=new.options.choices(),
        kept_metadata=new.kept_metadata,
        description=None,
    )
    session.add(image)
    session.flush()
    search.index_image(session, image.id, image.name)
    if new.batch_id is not None:
        batches.accept(session, new.batch_id, image.path)
    return image, transitions.create(session, replace(job, image_id=new.id, batch_id=new.batch_id))


def import_bitstream(session: Session, new: NewStream) -> tuple[Image, bool] | None:
    """Find or insert the owner's image of a stream; returns it, and whether it is new.

    None when another transaction used up the stream's reservation: reserve it again and repeat. Locks are taken in the
    order in which a deletion takes them: the image, then the reservation, which lets one of several that bring the same
    stream insert an image.
    """
    same = select(Image).where(Image.bitstream_sha256 == new.sha256, Image.owner == new.owner)
    same = same.order_by(Image.id).limit(1)
    image = session.scalars(same.with_for_update(of=Image)).first()
    if not bitstreams.lock_reservation(session, new.sha256):
        return None
    is_new = image is None
    if image is not None:
        bitstreams.retain(session, new.sha256, new.bits.total // 8)
    elif session.scalars(same).first() is not None:
        return None
    else:
        image = _insert_imported(session, new)
    if new.reference is not None:
        object_lifecycle.retain(session, new.reference)
        if image.reference_key != new.reference.key:
            image.reference_key = new.reference.key
            outdate(session, image)
    if new.kept_metadata is not None and image.kept_metadata != new.kept_metadata:
        image.kept_metadata = new.kept_metadata
        outdate(session, image)
    return image, is_new


def record_stream(session: Session, image: Image, stream: Stream, bits: Bits, sha256: str) -> None:
    """Note on the image what its stored stream holds; the image is ready from then on."""
    bitstreams.retain(session, sha256, bits.total // 8)
    image.state = ImageState.READY
    image.bitstream_sha256 = sha256
    image.bitstream_bytes = bits.total // 8
    image.bits = asdict(bits)
    image.mode = str(stream.coarse.kind)
    image.profile = stream.profile
    image.networks = {
        part: prefix.hex()
        for part, prefix in (("coarse", stream.coarse_network), ("restorer", stream.restorer_network))
        if prefix is not None
    }
    if isinstance(stream.coarse, ExternalCoarse):
        image.declared_bits = stream.coarse.declared_bits
    if stream.maps is not None:
        edge = stream.maps.edge
        image.maps = [
            ["".join(map(str, mask[row * edge : (row + 1) * edge])) for row in range(edge)]
            for mask in stream.maps.masks
        ]


def record_description(session: Session, image: Image, describer: str, content: JSONObject) -> None:
    """Replace the description of the image; a search finds the image by its words from then on."""
    session.merge(DescriptionRecord(image_id=image.id, describer=describer, content=content))
    search.index_image(session, image.id, image.name, content)


def get(session: Session, image_id: str, view: View) -> Image:
    """The image with its description; raises NotFound."""
    return _found(session.get(Image, image_id), image_id, view)


def lock(session: Session, image_id: str, view: View) -> Image:
    """The image, locked for the rest of the transaction; raises NotFound."""
    row = session.get(Image, image_id, with_for_update={"of": Image}, populate_existing=True)
    return _found(row, image_id, view)


def list_images(
    session: Session,
    view: View,
    *,
    limit: int,
    before: str | None = None,
    state: ImageState | None = None,
    batch_id: str | None = None,
    words: str | None = None,
) -> Page[Image]:
    """Images, newest first; `before` is the id that the last page ended with.

    With `words` those whose name or description has, for each of them, a word that begins with it. Raises
    RequestInvalid for `words` without any, or too many.
    """
    query = select(Image).where(*view.conditions(Image))
    if state is not None:
        query = query.where(Image.state == state)
    if batch_id is not None:
        query = query.where(Image.batch_id == batch_id)
    if words is not None:
        query = query.where(*search.conditions(words))
    return newest_page(session, query, Image.id, limit=limit, before=before)


def delete_image(session: Session, image_id: str, view: View) -> None:
    """Delete an image with its jobs and reconstructions; objects that nothing refers to any more are swept later.

    Raises NotFound.
    """
    get(session, image_id, view)
    # Locks are taken in one order everywhere: jobs, then the image, then pending deletions.
    for job_id in queries.open_ids(session, image_id=image_id):
        transitions.cancel(session, job_id)
    image = lock(session, image_id, view)
    reconstructions = list(session.scalars(select(Reconstruction).where(Reconstruction.image_id == image_id)))
    if image.bitstream_sha256 is not None:
        bitstreams.drop(session, image.bitstream_sha256)
    if image.original_key is not None:
        object_lifecycle.drop(session, image.original_key, shared=False)
    outdate(session, image)
    shared = {row.object_key for row in reconstructions} | {image.reference_key}
    # In one order, so that two transactions that share objects cannot wait for each other.
    for key in sorted(key for key in shared if key is not None):
        object_lifecycle.drop(session, key, shared=True)
    transitions.delete_of_image(session, image_id)
    session.execute(delete(Reconstruction).where(Reconstruction.image_id == image_id))
    search.remove_image(session, image_id)
    session.execute(delete(DescriptionRecord).where(DescriptionRecord.image_id == image_id))
    if image.batch_id is not None:
        batches.forget_one(session, image.batch_id)
    session.expunge(image)
    session.execute(delete(Image).where(Image.id == image_id))


def _insert_imported(session: Session, new: NewStream) -> Image:
    stream = new.stream
    image = Image(
        id=new_id("img"),
        owner=new.owner,
        name=new.name,
        width=stream.width,
        height=stream.height,
        media_type=BINARY,
        options={},
        keep_original=False,
        description=None,
    )
    if stream.texts != Texts():
        items = [{"name": "", "detail": detail} for detail in stream.texts.details]
        content = {"items": items, "overall": stream.texts.overall}
        image.description = DescriptionRecord(image_id=image.id, describer="given", content=content)
    record_stream(session, image, stream, new.bits, new.sha256)
    session.add(image)
    session.flush()
    search.index_image(session, image.id, image.name, image.description.content if image.description else None)
    return image


def _found(image: Image | None, image_id: str, view: View) -> Image:
    if image is None or not view.has(image):
        raise NotFound(f"There is no image {image_id!r}.")
    return image
