"""Ordering a reconstruction of an image, looking at it, fetching it."""

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.downloads import send_object
from api.idempotent import IdempotentRun, run_idempotent
from api.identifiers import ImageId, ReconstructionId
from api.images.files import picture_of
from api.jobs.schemas import to_out as job_to_out
from api.openapi import IDEMPOTENCY_PARAMETER, PREFER_PARAMETER, file_content, json_body
from api.prefer import answer_after_wait
from api.reconstructions.schemas import OrderedReconstruction, OrderOptions, ReconstructionOut, Sample, to_out
from api.services import Services, ServicesDependency
from api.uploads import read_json_object
from codec.media import AVIF, PNG, WEBP
from codec.options import parse_options
from core.archive import images, object_lifecycle, reconstructions
from core.archive.reconstructions import NewReconstruction
from core.broker import DECODE
from core.jobs import queries, transitions
from core.jobs.job import JobSpec
from core.owners.view import View
from models.job import JobKind
from models.reconstruction import Reconstruction, ReconstructionState

router = APIRouter(prefix="/v1", tags=["reconstructions"])


@router.post(
    "/images/{image_id}/reconstructions",
    status_code=202,
    summary="Order a reconstruction",
    response_model=OrderedReconstruction,
    responses={
        200: {
            "model": OrderedReconstruction,
            "description": "The same was made before and is ready, or its end came while the answer waited.",
        }
    },
    openapi_extra=json_body(OrderOptions, {"defaults": {}, "smaller file": {"format": "webp"}})
    | {"parameters": [IDEMPOTENCY_PARAMETER, PREFER_PARAMETER]},
)
async def order_reconstruction(
    request: Request, services: ServicesDependency, caller: CallerDependency, image_id: ImageId
) -> Response:
    """The body is a JSON object of options; everything in it has a default. The same options give the same picture,
    so one that is ready (200) or on its way (202) is not made again. 409 `not_ready` while the image has no stream, 422
    `decode_too_costly` where size and steps are more than the service takes."""
    options = parse_options(OrderOptions, services.default_options | await read_json_object(request))
    new = NewReconstruction(options.decode_options(), options.format.value)
    job = services.job(request, JobKind.DECODE, DECODE, options.priority, options.deadline)
    async with run_idempotent(request, services, {"options": options.choices()}) as run:
        if run.is_new:
            await run_in_threadpool(_order, services, caller.view, image_id, new, options.samples, job, run)
    ids = [(one["reconstruction"]["id"], one["job"]["id"]) for one in run.body.get("samples") or [run.body]]
    read = partial(_read_ordered, services, caller.view, ids)
    return await answer_after_wait(request, services, run, [job_id for _, job_id in ids], read)


@router.get("/reconstructions/{reconstruction_id}", summary="Look at a reconstruction")
def get_reconstruction(
    services: ServicesDependency, caller: CallerDependency, reconstruction_id: ReconstructionId
) -> ReconstructionOut:
    """Its state, and how it was made."""
    with services.database.read() as session:
        return to_out(reconstructions.get(session, reconstruction_id, caller.view))


@router.delete("/reconstructions/{reconstruction_id}", status_code=204, summary="Delete a reconstruction")
def delete_reconstruction(
    services: ServicesDependency, caller: CallerDependency, reconstruction_id: ReconstructionId
) -> Response:
    """Cancels its job and deletes its picture, unless another reconstruction is the same file. The same order makes it
    again."""
    with services.database.write() as session:
        reconstructions.remove(session, reconstruction_id, caller.view)
    return Response(status_code=204)


@router.head("/reconstructions/{reconstruction_id}/content", include_in_schema=False)
@router.get(
    "/reconstructions/{reconstruction_id}/content",
    summary="Fetch the picture",
    response_class=Response,
    responses={
        200: {"content": file_content(PNG, WEBP, AVIF), "description": "The picture."},
        307: {"description": "An address at the object store, with `redirect=true`, where there is one."},
    },
)
async def fetch_content(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    reconstruction_id: ReconstructionId,
    redirect: bool = False,
) -> Response:
    """The picture in the format that was ordered. Its metadata say that it was made by a decoder, and from which
    stream. 409 `not_ready` until its job has succeeded."""
    row, name = await run_in_threadpool(_read, services, caller.view, reconstruction_id)
    await run_in_threadpool(reconstructions.note_use, services.database, row)
    return await send_object(request, services.storage_threads, picture_of(services, row, name), redirect=redirect)


def _read_ordered(services: Services, view: View, ids: Sequence[tuple[str, str]]) -> OrderedReconstruction:
    """What was ordered, by reconstruction and job, as it is now; the first stands for all."""
    with services.database.read() as session:
        ordered = [
            Sample(
                reconstruction=to_out(reconstructions.get(session, reconstruction_id, view)),
                job=job_to_out(queries.get(session, job_id, view)),
            )
            for reconstruction_id, job_id in ids
        ]
    first = ordered[0]
    return OrderedReconstruction(
        reconstruction=first.reconstruction, job=first.job, samples=ordered if len(ordered) > 1 else []
    )


def _read(services: Services, view: View, reconstruction_id: str) -> tuple[Reconstruction, str]:
    """The reconstruction, and the name of its image."""
    with services.database.read() as session:
        row = reconstructions.get(session, reconstruction_id, view)
        return row, images.get(session, row.image_id, view).name


def _order(
    services: Services,
    view: View,
    image_id: str,
    new: NewReconstruction,
    samples: int,
    job: JobSpec,
    run: IdempotentRun,
) -> None:
    lost_ids: list[str] = []
    services.queue_limit.admit(job.queue)
    with services.database.read() as session:
        position = queries.next_position(session, job.queue, job.priority)
    while True:
        with services.database.write() as session:
            # Locked until the end, so that the same order that comes twice at once finds what the first one made.
            image = images.lock(session, image_id, view)
            services.decode_limits.check(new.options, image.width, image.height)
            for lost_id in lost_ids:
                reconstructions.write_off(session, lost_id)
            rows, ordered, new_ids = [], [], []
            for sample in range(samples):
                row, job_id, is_new = reconstructions.submit(session, image, new.sample(image, sample), job)
                job_row = queries.get(session, job_id)
                job_out = job_to_out(job_row, position if is_new else queries.queue_position(session, job_row))
                rows.append(row)
                ordered.append(Sample(reconstruction=to_out(row), job=job_out))
                new_ids += [job_id] if is_new else []
            first = ordered[0]
            body = OrderedReconstruction(
                reconstruction=first.reconstruction, job=first.job, samples=ordered if samples > 1 else []
            )
            is_ready = all(row.state == ReconstructionState.READY for row in rows)
            if not is_ready:
                run.store_response(session, 202, body, first.job.links.self)
        if new_ids:
            services.outbox_sender.notify(new_ids, job.queue)
        if not is_ready:
            on_their_way = [one.job.id for one in ordered if one.job.id not in new_ids]
            transitions.hasten(services.database, on_their_way, job.priority, job.deadline)
            return
        # No transaction is open while the storage is called: others would wait for it.
        lost_ids = [row.id for row in rows if row.object_key is None or not _is_intact(services, row.object_key)]
        if not lost_ids:
            run.store_response_alone(200, body, first.job.links.self)
            return


def _is_intact(services: Services, object_key: str) -> bool:
    return object_lifecycle.is_intact(services.database, services.storage, object_key)
