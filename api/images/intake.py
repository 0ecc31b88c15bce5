"""From an uploaded picture to an image with its job, for one picture or many; leaves nothing behind when it fails."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from api.idempotent import IdempotentRun
from api.identifiers import check_batch_id
from api.images import references
from api.images.captions import read_captions, with_caption
from api.images.pictures import read_capture, read_picture_info
from api.images.schemas import SubmitOptions, SubmittedImage
from api.images.schemas import to_out as image_to_out
from api.jobs.schemas import to_out as job_to_out
from api.services import Services
from api.uploads import Form, UploadedFile
from codec.errors import CodecError
from codec.media import suffix_of
from codec.options import DecodeOptions, parse_options
from core.archive import batches, deletions, images, object_lifecycle
from core.archive.batches import Rejection
from core.archive.images import NewImage
from core.archive.object_lifecycle import NewObject, ReservationLost
from core.database import Session
from core.errors import DatabaseUnavailable, ServiceError, UploadTooLarge
from core.jobs import queries
from core.jobs.job import JobSpec
from core.logging import get_logger
from core.owners import quotas
from core.owners.view import View
from core.storage.keys import original_key
from models.base import new_id

_log = get_logger(__name__)

_Recorded = TypeVar("_Recorded")


@dataclass(frozen=True)
class IncomingImage:
    """An uploaded picture with its options, and the reference picture that came with it."""

    file: UploadedFile
    options: SubmitOptions
    reference: UploadedFile | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """All that the upload says, digests in place of files."""
        return {
            "options": self.options.choices(),
            "file": self.file.sha256,
            "name": self.file.path_name,
            "reference": self.reference and self.reference.sha256,
        }


async def read_form(services: Services, form: Form) -> IncomingImage:
    """The upload of one picture; raises RequestInvalid, OptionError and CaptionsError."""
    form.check_names(fields=("options",), files=("file", "reference", "captions"))
    file, reference = form.file("file"), form.optional_file("reference")
    options = parse_options(SubmitOptions, services.default_options | form.json_object("options"))
    references.check_options(options, reference)
    captions = await read_captions(form.optional_file("captions"), options)
    return IncomingImage(file, with_caption(options, captions, file.name), reference)


async def check(services: Services, incoming: IncomingImage) -> NewImage:
    """Read the pictures to their end; raises PictureError children, OptionError, UploadTooLarge and NotFound."""
    file, options = incoming.file, incoming.options
    info = await read_picture_info(services, file)
    capture = await read_capture(services, file) if options.keep_metadata else None
    if options.is_verified:
        services.decode_limits.check(DecodeOptions(profile=options.profile), info.width, info.height)
    image_id = new_id("img")
    return NewImage(
        id=image_id,
        name=file.name,
        folder=file.folder or None,
        width=info.width,
        height=info.height,
        media_type=info.media_type,
        original=NewObject(original_key(file.sha256, suffix_of(info.media_type)[1:]), file.sha256, file.size_bytes),
        options=options.encode_options(),
        keep_original=options.keep_original,
        declared_bits=None if incoming.reference is None else references.declared_bits(options, info),
        reference=await references.check_reference(services, incoming.reference),
        batch_id=options.batch_id and check_batch_id(options.batch_id),
        kept_metadata=None
        if capture is None
        else asdict(capture) | options.model_dump(mode="json", include={"modified_at"}),
    )


def submit(services: Services, incoming: IncomingImage, new: NewImage, job: JobSpec, run: IdempotentRun) -> None:
    """Store the picture, then record it with its job and the response in one transaction.

    Raises LimitReached, and QuotaReached.
    """
    services.queue_limit.admit(job.queue)
    priority = incoming.options.priority_of_job(in_batch=new.batch_id is not None)
    job = replace(job, priority=priority, deadline=incoming.options.deadline)
    with services.database.read() as session:
        if new.batch_id is not None:
            batches.get(session, new.batch_id, View(job.owner))
        position = queries.next_position(session, job.queue, job.priority)
        [new] = images.with_free_originals(session, [new])

    def _record(session: Session) -> str:
        image, job_id = images.submit(session, new, job)
        job_out = job_to_out(queries.get(session, job_id), position)
        body = SubmittedImage(image=image_to_out(image, job_out), job=job_out)
        run.note_standing(quotas.charge(session, job.owner, 1, new.original.size_bytes))
        run.store_response(session, 202, body, job_out.links.self)
        return job_id

    job_id = record_stored(services, [(incoming, new)], _record)
    services.outbox_sender.notify([job_id], job.queue)


def note_rejection(services: Services, incoming: IncomingImage, owner: str, error: CodecError | UploadTooLarge) -> None:
    """Have the batch that the picture was meant for know that it could not be taken; raises NotFound."""
    if incoming.options.batch_id is None:
        return
    batch_id = check_batch_id(incoming.options.batch_id)
    with services.database.write() as session:
        batches.get(session, batch_id, View(owner))
        batches.reject(session, batch_id, [Rejection(incoming.file.path_name, error.code, str(error))])


def record_stored(
    services: Services, uploads: Sequence[tuple[IncomingImage, NewImage]], record: Callable[[Session], _Recorded]
) -> _Recorded:
    """Store the pictures and `record` them in one transaction; returns what that returns."""
    try:
        return _record_stored(services, uploads, record)
    except ReservationLost:
        # The same content came in by another upload and was dropped, within these few moments.
        return _record_stored(services, uploads, record)


def _record_stored(
    services: Services, uploads: Sequence[tuple[IncomingImage, NewImage]], record: Callable[[Session], _Recorded]
) -> _Recorded:
    with _stored(services, uploads), services.database.write() as session:
        # Uploads of the same contents in another order would else wait for each other.
        object_lifecycle.lock_reservations(session, {new.original.key for _, new in uploads})
        return record(session)


@contextlib.contextmanager
def _stored(services: Services, uploads: Sequence[tuple[IncomingImage, NewImage]]) -> Iterator[None]:
    """Store the pictures for the block that records them, and remove the originals again when it raises.

    They stay when the database went away: it may have committed before it did. The reservations tell later.
    """
    try:
        for incoming, new in uploads:
            object_lifecycle.store(services.database, services.storage, new.original, incoming.file.path)
            if new.reference is not None and incoming.reference is not None:
                object_lifecycle.store(services.database, services.storage, new.reference, incoming.reference.path)
        yield
    except DatabaseUnavailable:
        raise
    except BaseException:
        for _, new in uploads:
            _remove(services, new.original.key)
        raise


def _remove(services: Services, key: str) -> None:
    try:
        deletions.remove(services.database, services.storage, key)
    except ServiceError as error:
        # The reservation is still there, so a sweep removes the object later.
        _log.warning("original_not_removed", key=key, code=error.code, error=str(error))
