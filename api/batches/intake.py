"""From a form with many pictures to a batch with an image and a job for each that can be taken."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from api.batches.schemas import MAX_NAME_CHARS, BatchMember, NewBatch, RejectedFile, SubmittedBatch, to_out
from api.idempotent import IdempotentRun
from api.images import intake
from api.images.captions import read_captions, with_caption
from api.images.intake import IncomingImage
from api.images.schemas import SubmitOptions
from api.services import Services
from api.uploads import Form, UploadedFile, plain_name
from codec.captions import Captions
from codec.errors import CodecError
from codec.options import parse_options
from core.archive import batches, images
from core.archive.batches import Rejection
from core.archive.images import NewImage
from core.database import Session
from core.errors import RequestInvalid, UploadTooLarge
from core.jobs.job import JobSpec
from core.owners import quotas
from models.job import JobPriority


class AllRejected(Exception):
    """No file of a batch can be taken, so there is no batch."""

    def __init__(self, rejected: list[RejectedFile]) -> None:
        super().__init__("none of the files can be taken")
        self.rejected = rejected


@dataclass(frozen=True)
class IncomingBatch:
    """Uploaded pictures with options that are the same for all; `captions` has a description for each."""

    name: str | None
    options: SubmitOptions
    files: list[UploadedFile]
    captions: Captions | None
    captions_sha256: str | None

    @property
    def payload(self) -> dict[str, Any]:
        """All that the request says, digests in place of files."""
        return {
            "options": self.options.choices(),
            "name": self.name,
            "files": [[file.path_name, file.sha256] for file in self.files],
            "captions": self.captions_sha256,
        }


@dataclass(frozen=True)
class CheckedBatch:
    """The pictures that can be taken, and the files that cannot."""

    name: str | None
    priority: JobPriority
    deadline: datetime | None
    accepted: list[tuple[IncomingImage, NewImage]]
    rejected: list[RejectedFile]


def batch_name(name: str | None) -> str | None:
    """The name without tricks; None for an empty one. Raises RequestInvalid for one that is too long."""
    if name is not None and len(name) > MAX_NAME_CHARS:
        raise RequestInvalid(f"The name of a batch has at most {MAX_NAME_CHARS} characters.")
    return plain_name(name, "batch") if name and name.strip() else None


async def read_form(services: Services, form: Form) -> IncomingBatch:
    """The upload of a batch; raises RequestInvalid, UploadTooLarge, OptionError and CaptionsError."""
    max_images = services.settings.max_batch_images
    form.check_names(fields=("options", "name"), files=("files", "captions"))
    files = form.files_of("files")
    if not files:
        raise RequestInvalid("Send one or more pictures, each as a form field 'files'.")
    if len(files) > max_images:
        raise UploadTooLarge(f"A batch request takes {max_images} pictures; send the rest in another one.")
    options = parse_options(SubmitOptions, services.default_options | form.json_object("options"))
    if options.batch_id is not None:
        raise RequestInvalid("A batch cannot be part of another one; leave batch_id out, or use POST /v1/images.")
    if options.modified_at is not None:
        raise RequestInvalid("modified_at is the date of one file; hand pictures in singly with it, or leave it out.")
    captions_file = form.optional_file("captions")
    captions = await read_captions(captions_file, options)
    name = batch_name(form.fields.get("name"))
    return IncomingBatch(name, options, files, captions, None if captions_file is None else captions_file.sha256)


async def check(services: Services, incoming: IncomingBatch) -> CheckedBatch:
    """Read every picture to its end; raises AllRejected when none can be taken."""
    # One after the other: pictures that others send meanwhile have their turn in between.
    checked = [await _check_file(services, incoming, file) for file in incoming.files]
    rejected = [entry for entry in checked if isinstance(entry, RejectedFile)]
    accepted = [entry for entry in checked if not isinstance(entry, RejectedFile)]
    if not accepted:
        raise AllRejected(rejected)
    priority = incoming.options.priority_of_job(in_batch=True)
    return CheckedBatch(incoming.name, priority, incoming.options.deadline, accepted, rejected)


def submit(services: Services, checked: CheckedBatch, job: JobSpec, run: IdempotentRun) -> None:
    """Store the pictures, then record them with their batch, their jobs and the response in one transaction.

    Raises LimitReached, and QuotaReached where not all of them fit into what the owner has left.
    """
    services.queue_limit.admit(job.queue, len(checked.accepted))
    job = replace(job, priority=checked.priority, deadline=checked.deadline)
    with services.database.read() as session:
        free = images.with_free_originals(session, [new for _, new in checked.accepted])
    uploads = [(upload, new) for (upload, _), new in zip(checked.accepted, free, strict=True)]

    def _record(session: Session) -> list[BatchMember]:
        batch = batches.create(session, checked.name, job.owner)
        members = []
        for _, new in uploads:
            image, job_id = images.submit(session, replace(new, batch_id=batch.id), job)
            members.append(BatchMember(name=image.path, image_id=image.id, job_id=job_id))
        refused = [Rejection(entry.name, entry.code, entry.message) for entry in checked.rejected]
        batches.reject(session, batch.id, refused)
        out = to_out(batch, batches.count(session, batch.id))
        body = SubmittedBatch(**dict(out), images=members, rejected=checked.rejected)
        size_bytes = sum(new.original.size_bytes for _, new in uploads)
        run.note_standing(quotas.charge(session, job.owner, len(members), size_bytes))
        run.store_response(session, 202, body, out.links.self)
        return members

    members = intake.record_stored(services, uploads, _record)
    services.outbox_sender.notify([member.job_id for member in members], job.queue)


def create_empty(services: Services, new: NewBatch, owner: str, run: IdempotentRun) -> None:
    """Record a batch without pictures."""
    with services.database.write() as session:
        batch = batches.create(session, new.name, owner, new.expected)
        out = to_out(batch, batches.count(session, batch.id))
        run.store_response(session, 201, SubmittedBatch(**dict(out), images=[], rejected=[]), out.links.self)


async def _check_file(
    services: Services, incoming: IncomingBatch, file: UploadedFile
) -> tuple[IncomingImage, NewImage] | RejectedFile:
    try:
        image = IncomingImage(file, with_caption(incoming.options, incoming.captions, file.name))
        return image, await intake.check(services, image)
    except CodecError as error:
        return RejectedFile(name=file.path_name, code=error.code, message=str(error))
