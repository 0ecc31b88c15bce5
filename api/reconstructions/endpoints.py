"""Ordering a reconstruction of an image, looking at it, fetching it."""

from functools import partial

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.downloads import Download, renamed, send_object
from api.identifiers import ImageId, ReconstructionId
from api.jobs.schemas import describe_job
from api.openapi import IDEMPOTENCY_PARAMETER, json_body
from api.reconstructions.schemas import (
    OrderedReconstruction,
    OrderOptions,
    ReconstructionAnswer,
    describe_reconstruction,
)
from api.replay import Keep, answer_of, answered_once, keep_nothing
from api.services import Services, ServicesDependency
from api.uploads import read_json_object
from codec.media import AVIF, PNG, WEBP, media_type_of
from codec.options import parse_options
from core.archive import images, reconstructions
from core.broker import DECODE
from core.errors import NotFound, NotReady, ObjectNotFound
from core.idempotency import StoredAnswer
from core.jobs import queries
from models.image import Image
from models.reconstruction import Reconstruction, ReconstructionState

router = APIRouter(prefix="/v1", tags=["reconstructions"])


@router.post(
    "/images/{image_id}/reconstructions",
    status_code=202,
    summary="Order a reconstruction",
    response_model=OrderedReconstruction,
    responses={200: {"model": OrderedReconstruction, "description": "The same was made before and is ready."}},
    openapi_extra=json_body(OrderOptions, {"defaults": {}, "smaller file": {"format": "webp"}})
    | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def order_reconstruction(request: Request, services: ServicesDependency, image_id: ImageId) -> Response:
    """The body is a JSON object of options; everything in it has a default. The same options give the same picture,
    so one that is ready (200) or on its way (202) is not made again. 409 `not_ready` while the image has no stream."""
    options = parse_options(OrderOptions, services.default_options | await read_json_object(request))
    request_id = request.scope.get("misc.request_id")

    async def _act(keep: Keep) -> StoredAnswer:
        return await run_in_threadpool(partial(_order, services, image_id, options, request_id, keep))

    return await answered_once(request, services, {"options": options.model_dump(mode="json")}, _act)


@router.get("/reconstructions/{reconstruction_id}", summary="Look at a reconstruction")
def get_reconstruction(services: ServicesDependency, reconstruction_id: ReconstructionId) -> ReconstructionAnswer:
    """Its state, and how it was made."""
    return describe_reconstruction(_read(services, reconstruction_id))


@router.head("/reconstructions/{reconstruction_id}/content", include_in_schema=False)
@router.get(
    "/reconstructions/{reconstruction_id}/content",
    summary="Fetch the picture",
    response_class=Response,
    responses={
        200: {"content": {kind: {} for kind in (PNG, WEBP, AVIF)}, "description": "It."},
        307: {"description": "An address at the object store, if `redirect` was asked for and there is one."},
    },
)
async def fetch_content(
    request: Request, services: ServicesDependency, reconstruction_id: ReconstructionId, redirect: bool = False
) -> Response:
    """The picture in the format that was ordered. Its metadata say that it was made by a decoder, and from which
    stream. 409 `not_ready` until its job has succeeded."""
    row = await run_in_threadpool(_read, services, reconstruction_id)
    if row.state != ReconstructionState.READY or row.object_key is None or row.sha256 is None:
        raise NotReady(f"Reconstruction {row.id} is {row.state}; it has no picture.")
    name = await run_in_threadpool(_image_name, services, row.image_id)
    download = Download(
        key=row.object_key,
        sha256=row.sha256,
        size_bytes=row.size_bytes or 0,
        media_type=media_type_of(row.object_key),
        name=renamed(name, row.format),
        inline=True,
    )
    return await send_object(request, services.storage, download, redirect=redirect)


def _order(
    services: Services, image_id: str, options: OrderOptions, request_id: str | None, keep: Keep
) -> StoredAnswer:
    lost_id: str | None = None
    while True:
        with services.database.write() as session:
            # Held until the end, so that the same order that comes twice at once finds what the first one made.
            image = session.get(Image, image_id, with_for_update={"of": Image})
            if image is None:
                raise NotFound(f"There is no image {image_id!r}.")
            if lost_id is not None:
                _write_off(session, lost_id)
            row, job_id, is_new = reconstructions.submit(
                session,
                image,
                options.decode_options(),
                picture_format=options.format.value,
                max_attempts=services.max_attempts,
                request_id=request_id,
            )
            is_ready = row.state == ReconstructionState.READY
            job = queries.get(session, job_id)
            told = describe_job(job, queries.queue_position(session, job))
            body = OrderedReconstruction(reconstruction=describe_reconstruction(row), job=told)
            answer = answer_of(200 if is_ready else 202, body, told.links.self)
            if not is_ready:
                keep(session, answer)
        if is_new:
            services.outbox_sender.notify([job_id], DECODE)
        if not is_ready:
            return answer
        # The storage is asked without a transaction that others would wait for.
        if row.object_key is not None and _is_stored(services, row.object_key):
            if keep is not keep_nothing:
                with services.database.write() as session:
                    keep(session, answer)
            return answer
        lost_id = row.id


def _is_stored(services: Services, key: str) -> bool:
    try:
        services.storage.head(key)
    except ObjectNotFound:
        return False
    return True


def _write_off(session: Session, reconstruction_id: str) -> None:
    """A reconstruction is a cache: one whose picture is gone from storage may be made anew."""
    row = session.get(Reconstruction, reconstruction_id, with_for_update=True)
    if row is not None and row.state == ReconstructionState.READY:
        row.state, row.object_key = ReconstructionState.FAILED, None
        session.flush()


def _read(services: Services, reconstruction_id: str) -> Reconstruction:
    with services.database.read() as session:
        return reconstructions.get(session, reconstruction_id)


def _image_name(services: Services, image_id: str) -> str:
    with services.database.read() as session:
        return images.get(session, image_id).name
