"""`/v1/batches`: hand in many pictures, look at them as a group, cancel them."""

import asyncio
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.batches.schemas import (
    BatchAnswer,
    BatchMember,
    CancelledBatch,
    NewBatch,
    RejectedFile,
    SubmittedBatch,
    describe_batch,
)
from api.errors import problem, status_of
from api.identifiers import BatchId
from api.images import intake
from api.images.captions import CAPTIONS_FIELD, read_captions, with_caption
from api.images.schemas import SubmitOptions
from api.openapi import IDEMPOTENCY_PARAMETER, form_body, inlined_schema
from api.replay import Keep, answer_of, answered_once
from api.services import Services, ServicesDependency
from api.uploads import Form, UploadedFile, is_form, plain_name, read_json_object, received_form
from codec.captions import Captions
from codec.errors import CodecError
from codec.options import EncodeOptions, parse_options
from core.archive import batches
from core.broker import ENCODE
from core.errors import RequestInvalid, UploadTooLarge
from core.idempotency import StoredAnswer
from core.jobs import queries, transitions
from models.job import JobState

router = APIRouter(prefix="/v1/batches", tags=["batches"])

_CANCELLED_AT_ONCE = 100
"""Jobs in one transaction: a thousand would keep every other writer waiting."""

_FORM = form_body(
    {
        "files": {
            "type": "array",
            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
            "description": "The pictures: the field is sent once for each.",
        },
        "options": inlined_schema(SubmitOptions),
        "name": {"type": "string", "maxLength": 255},
        "captions": CAPTIONS_FIELD,
    },
    ["files"],
)
_FORM["requestBody"]["content"]["application/json"] = {"schema": inlined_schema(NewBatch)}


@dataclass(frozen=True)
class _Accepted:
    """A picture that can be taken, and its own options."""

    arrival: intake.Arrival
    options: EncodeOptions


class _AllRejected(Exception):
    """No file of a batch can be taken, so there is no batch."""

    def __init__(self, rejected: list[RejectedFile]) -> None:
        super().__init__("none of the files can be taken")
        self.rejected = rejected


@router.post(
    "",
    status_code=202,
    summary="Hand in many pictures",
    response_model=SubmittedBatch,
    responses={201: {"model": SubmittedBatch, "description": "A batch without pictures yet."}},
    openapi_extra=_FORM | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def submit_batch(request: Request, services: ServicesDependency) -> Response:
    """A form with one field `files` for each picture; `options` are the same for all, and `captions`
    may be a file with a description of each. A picture that cannot be taken, or has no description there, is told in
    `rejected` and the rest go on; 422 when there is no other. A JSON body makes a batch without pictures (201), to be
    filled by uploads whose options name it as `batch_id`."""
    if not is_form(request):
        return await _create_empty(request, services)
    async with received_form(request, max_files=services.settings.max_batch_images + 1) as form:
        options = _options_of(form, services)
        captions_file = form.optional_file("captions")
        captions = await read_captions(captions_file, options)
        name = _batch_name(form.fields.get("name"))
        pictures = form.files_of("files")
        said = {
            "options": options.model_dump(mode="json"),
            "name": name,
            "files": [[file.name, file.sha256] for file in pictures],
            "captions": captions_file and captions_file.sha256,
        }

        async def _act(keep: Keep) -> StoredAnswer:
            accepted, rejected = await _check_all(services, pictures, options, captions)
            if not accepted:
                raise _AllRejected(rejected)
            request_id = request.scope["misc.request_id"]
            submit = partial(_submit, services, accepted, rejected, options.keep_original, name, request_id, keep)
            return await run_in_threadpool(submit)

        try:
            return await answered_once(request, services, said, _act)
        except _AllRejected as refusal:
            return _all_rejected(request, refusal.rejected)


@router.get("/{batch_id}", summary="Look at a batch")
def get_batch(services: ServicesDependency, batch_id: BatchId) -> BatchAnswer:
    """Counts by state, and progress in 0..1 over all its jobs."""
    with services.database.read() as session:
        return describe_batch(batches.get(session, batch_id), batches.count(session, batch_id))


@router.post("/{batch_id}/cancel", summary="Cancel a batch")
async def cancel_batch(services: ServicesDependency, batch_id: BatchId) -> CancelledBatch:
    """Waiting jobs end at once, running ones at their next step; what has ended stays as it is."""
    return await run_in_threadpool(_cancel, services, batch_id)


def _options_of(form: Form, services: Services) -> SubmitOptions:
    max_images = services.settings.max_batch_images
    form.check_names(fields=("options", "name"), files=("files", "captions"))
    if not form.files_of("files"):
        raise RequestInvalid("Send one or more pictures, each as a form field 'files'.")
    if len(form.files_of("files")) > max_images:
        raise UploadTooLarge(f"A batch request takes {max_images} pictures; send the rest in another one.")
    options = parse_options(SubmitOptions, services.default_options | form.json_object("options"))
    if options.batch_id is not None:
        raise RequestInvalid("A batch cannot be part of another one; leave batch_id out, or use POST /v1/images.")
    return options


def _batch_name(name: str | None) -> str | None:
    return plain_name(name, "batch") if name and name.strip() else None


async def _create_empty(request: Request, services: Services) -> Response:
    options = await read_json_object(request)
    given = options.pop("name", None)
    if options or not (given is None or isinstance(given, str)):
        raise RequestInvalid('Send pictures as a form, or a JSON object such as {"name": "spring"}.')
    name = _batch_name(given)

    def _create(keep: Keep) -> StoredAnswer:
        with services.database.write() as session:
            batch = batches.create(session, name)
            told = describe_batch(batch, batches.count(session, batch.id))
            answer = answer_of(201, SubmittedBatch(**dict(told), images=[], rejected=[]), told.links.self)
            keep(session, answer)
        return answer

    async def _act(keep: Keep) -> StoredAnswer:
        return await run_in_threadpool(_create, keep)

    return await answered_once(request, services, {"name": name}, _act)


async def _check_all(
    services: Services, files: list[UploadedFile], options: SubmitOptions, captions: Captions | None
) -> tuple[list[_Accepted], list[RejectedFile]]:
    async def _check(file: UploadedFile) -> _Accepted | RejectedFile:
        try:
            own = with_caption(options, captions, file.name)
            return _Accepted(await intake.check_upload(services, file), own.encode_options())
        except CodecError as error:
            return RejectedFile(name=file.name, code=error.code, message=str(error))

    checked = await asyncio.gather(*map(_check, files))
    accepted = [entry for entry in checked if isinstance(entry, _Accepted)]
    return accepted, [entry for entry in checked if isinstance(entry, RejectedFile)]


def _submit(
    services: Services,
    accepted: list[_Accepted],
    rejected: list[RejectedFile],
    keep_original: bool,
    name: str | None,
    request_id: str | None,
    keep: Keep,
) -> StoredAnswer:
    arrivals = [entry.arrival for entry in accepted]
    with intake.removed_on_failure(services, arrivals):
        for arrival in arrivals:
            intake.store(services, arrival)
        with services.database.write() as session:
            batch = batches.create(session, name)
            members = []
            for entry in accepted:
                image, job_id = intake.record(
                    session,
                    services,
                    entry.arrival,
                    entry.options,
                    keep_original=keep_original,
                    batch_id=batch.id,
                    request_id=request_id,
                )
                members.append(BatchMember(name=image.name, image_id=image.id, job_id=job_id))
            told = describe_batch(batch, batches.count(session, batch.id))
            body = SubmittedBatch(**dict(told), images=members, rejected=rejected)
            answer = answer_of(202, body, told.links.self)
            keep(session, answer)
    services.outbox_sender.notify([member.job_id for member in members], ENCODE)
    return answer


def _all_rejected(request: Request, rejected: list[RejectedFile]) -> Response:
    """One problem for all: the code that they share, or that of the request as a whole."""
    codes = {entry.code for entry in rejected}
    detail = "None of the files can be taken. " + " ".join(f"{entry.name}: {entry.message}" for entry in rejected)
    code = codes.pop() if len(codes) == 1 else CodecError.code
    return problem(request.scope, status_of(CodecError()), code, detail, rejected=rejected)


def _cancel(services: Services, batch_id: str) -> CancelledBatch:
    cancelled = stopping = 0
    with services.database.read() as session:
        batches.get(session, batch_id)
        open_jobs = queries.open_ids(session, batch_id=batch_id)
    for start in range(0, len(open_jobs), _CANCELLED_AT_ONCE):
        with services.database.write() as session:
            for job_id in open_jobs[start : start + _CANCELLED_AT_ONCE]:
                if transitions.cancel(session, job_id).state == JobState.CANCELLED:
                    cancelled += 1
                else:
                    stopping += 1
    with services.database.read() as session:
        told = describe_batch(batches.get(session, batch_id), batches.count(session, batch_id))
    return CancelledBatch(**dict(told), cancelled=cancelled, stopping=stopping)
