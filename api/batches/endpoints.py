"""`/v1/batches`: hand in many pictures, look at them as a group, cancel them."""

from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.batches import intake
from api.batches.schemas import (
    BatchChange,
    BatchOut,
    BatchPage,
    CancelledBatch,
    NewBatch,
    RejectedFile,
    SubmittedBatch,
    to_out,
)
from api.errors import problem, status_of
from api.idempotent import run_idempotent
from api.identifiers import BatchCursor, BatchId, BatchName, Limit
from api.images.captions import CAPTIONS_FIELD
from api.images.schemas import SharedOptions
from api.openapi import IDEMPOTENCY_PARAMETER, file_schema, form_body, inlined_schema, json_body
from api.quota import check_quota
from api.services import Services, ServicesDependency
from api.uploads import is_form, read_json_object, received_form
from codec.errors import CodecError
from core.archive import batches
from core.broker import ENCODE
from core.errors import RequestInvalid
from core.jobs import queries, transitions
from core.owners.caller import Caller
from core.owners.view import View
from models.job import JobKind, JobState

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BodyT = TypeVar("BodyT", bound=BaseModel)

_CANCELLED_AT_ONCE = 100
"""Jobs in one transaction: a thousand would keep every other writer waiting."""

_FORM = form_body(
    {
        "files": {
            "type": "array",
            "minItems": 1,
            "items": file_schema(),
            "description": "The pictures: the field is sent once for each.",
        },
        "options": inlined_schema(SharedOptions),
        "name": {"type": "string", "maxLength": 255},
        "captions": CAPTIONS_FIELD,
    },
    ["files"],
)
_FORM["requestBody"]["content"]["application/json"] = {"schema": inlined_schema(NewBatch)}
_FORM["requestBody"]["required"] = False


@router.post(
    "",
    status_code=202,
    summary="Hand in many pictures",
    response_model=SubmittedBatch,
    responses={201: {"model": SubmittedBatch, "description": "A batch without pictures yet."}},
    openapi_extra=_FORM | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def submit_batch(request: Request, services: ServicesDependency, caller: CallerDependency) -> Response:
    """A form with one field `files` for each picture; `options` are the same for all, and `captions`
    may be a file with a description of each. A picture that cannot be taken, or has no description there, is listed in
    `rejected` and the rest go on; 422 when there is no other. A JSON body makes a batch without pictures (201), to be
    filled by uploads whose options name it as `batch_id`; `expected` announces how many will come."""
    if not is_form(request):
        return await _create_empty(request, services, caller)
    job = services.job(request, JobKind.ENCODE, ENCODE)
    async with received_form(request, max_files=services.settings.max_batch_images + 1) as form:
        incoming = await intake.read_form(services, form)
        try:
            async with run_idempotent(request, services, incoming.payload) as run:
                if run.is_new:
                    await run_in_threadpool(services.queue_limit.check, job.queue)
                    await check_quota(services, caller.owner)
                    checked = await intake.check(services, incoming)
                    await services.storage_threads.run(intake.submit, services, checked, job, run)
        except intake.AllRejected as refusal:
            return _all_rejected(request, refusal.rejected)
        return run.response()


@router.get("", summary="List batches")
def list_batches(
    services: ServicesDependency,
    caller: CallerDependency,
    limit: Limit = 50,
    cursor: BatchCursor = None,
    name: BatchName = None,
) -> BatchPage:
    """A page of batches with their counts. With `name`, those that are called so."""
    with services.database.read() as session:
        page = batches.list_batches(session, caller.view, limit=limit, before=cursor, name=name)
        counts = batches.count_each(session, [batch.id for batch in page.rows])
    return BatchPage(items=[to_out(batch, counts[batch.id]) for batch in page.rows], next_cursor=page.next_cursor)


@router.get("/{batch_id}", summary="Look at a batch")
def get_batch(services: ServicesDependency, caller: CallerDependency, batch_id: BatchId) -> BatchOut:
    """Counts by state, and progress in 0..1 over all its jobs."""
    with services.database.read() as session:
        return to_out(batches.get(session, batch_id, caller.view), batches.count(session, batch_id))


@router.patch("/{batch_id}", summary="Change a batch", openapi_extra=json_body(BatchChange, {}, required=True))
async def change_batch(
    request: Request, services: ServicesDependency, caller: CallerDependency, batch_id: BatchId
) -> BatchOut:
    """Announces how many pictures it will have in the end, those included that are there."""
    return await run_in_threadpool(_change, services, caller.view, batch_id, await read_json_object(request))


@router.post("/{batch_id}/cancel", summary="Cancel a batch")
async def cancel_batch(services: ServicesDependency, caller: CallerDependency, batch_id: BatchId) -> CancelledBatch:
    """Waiting jobs end at once, running ones at their next step; what has ended stays as it is, and pictures that were
    announced and have not come are not waited for."""
    return await run_in_threadpool(_cancel, services, caller.view, batch_id)


async def _create_empty(request: Request, services: Services, caller: Caller) -> Response:
    wanted = 'Send pictures as a form, or a JSON object such as {"name": "spring", "expected": 50}'
    new = _read(NewBatch, await read_json_object(request), wanted)
    new = new.model_copy(update={"name": intake.batch_name(new.name)})
    # What is not said is left out: the digest of a request must be the one that it had in earlier versions.
    async with run_idempotent(request, services, {"name": new.name} | new.model_dump(exclude_none=True)) as run:
        if run.is_new:
            await run_in_threadpool(intake.create_empty, services, new, caller.owner, run)
    return run.response()


def _read(model: type[BodyT], values: dict[str, Any], wanted: str) -> BodyT:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise RequestInvalid(f"{wanted}; {name}: {first['msg']}.") from None


def _all_rejected(request: Request, rejected: list[RejectedFile]) -> Response:
    """One problem for all: the code that they share, or that of the request as a whole."""
    codes = {entry.code for entry in rejected}
    detail = "None of the files can be taken. " + " ".join(f"{entry.name}: {entry.message}" for entry in rejected)
    code = codes.pop() if len(codes) == 1 else CodecError.code
    return problem(request.scope, status_of(CodecError()), code, detail, rejected=rejected)


def _change(services: Services, view: View, batch_id: str, values: dict[str, Any]) -> BatchOut:
    with services.database.write() as session:
        batches.get(session, batch_id, view)
        change = _read(BatchChange, values, 'Send a JSON object such as {"expected": 50}')
        batch = batches.expect(session, batch_id, view, change.expected)
        return to_out(batch, batches.count(session, batch_id))


def _cancel(services: Services, view: View, batch_id: str) -> CancelledBatch:
    cancelled = stopping = 0
    with services.database.read() as session:
        batches.get(session, batch_id, view)
        open_jobs = queries.open_ids(session, batch_id=batch_id)
    for start in range(0, len(open_jobs), _CANCELLED_AT_ONCE):
        with services.database.write() as session:
            for job_id in open_jobs[start : start + _CANCELLED_AT_ONCE]:
                if transitions.cancel(session, job_id).state == JobState.CANCELLED:
                    cancelled += 1
                else:
                    stopping += 1
    with services.database.write() as session:
        counts = batches.count(session, batch_id)
        expected = None if counts.expected is None else counts.expected - counts.missing
        out = to_out(batches.expect(session, batch_id, view, expected), batches.count(session, batch_id))
    return CancelledBatch(**dict(out), cancelled=cancelled, stopping=stopping)
