"""`/v1/images`: hand in, list, look, fetch, delete."""

from functools import partial

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.downloads import Download, renamed, send_object
from api.identifiers import BatchFilter, ImageCursor, ImageId, Limit, check_batch_id
from api.images import intake, references
from api.images.captions import CAPTIONS_FIELD, read_captions, with_caption
from api.images.schemas import (
    ImageDetail,
    ImagePage,
    SubmitOptions,
    SubmittedImage,
    describe_image,
    describe_reconstructions,
)
from api.jobs.schemas import JobAnswer, describe_job
from api.openapi import IDEMPOTENCY_PARAMETER, form_body, inlined_schema
from api.replay import Keep, answer_of, answered_once
from api.services import Services, ServicesDependency
from api.uploads import received_form
from codec.media import MISC
from codec.options import parse_options
from core.archive import batches, images
from core.broker import ENCODE
from core.errors import NotFound, NotReady
from core.idempotency import StoredAnswer
from core.jobs import queries, transitions
from core.storage.keys import bitstream_key
from models.image import Image, ImageState
from models.reconstruction import Reconstruction

router = APIRouter(prefix="/v1/images", tags=["images"])

_SHOWN_RECONSTRUCTIONS = 20

_SUBMIT_FORM = form_body(
    {
        "file": {"type": "string", "contentMediaType": "application/octet-stream", "description": "The picture."},
        "options": inlined_schema(SubmitOptions),
        "reference": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "A finished picture of an outside codec, for mode `ref` with `reference_bpp`. It is stored "
            "beside the stream, which names it by digest.",
        },
        "captions": CAPTIONS_FIELD,
    },
    ["file"],
)


@router.post(
    "",
    status_code=202,
    summary="Hand in a picture",
    response_model=SubmittedImage,
    openapi_extra=_SUBMIT_FORM | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def submit_image(request: Request, services: ServicesDependency) -> Response:
    """Takes JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, HEIC and JPEG XL up to 100 million pixels, as the form field
    `file`. `options` is a JSON object; everything in it has a default. The answer names the job in `Location`."""
    async with received_form(request, max_files=3) as form:
        form.check_names(fields=("options",), files=("file", "reference", "captions"))
        file, beside = form.file("file"), form.optional_file("reference")
        options = parse_options(SubmitOptions, services.default_options | form.json_object("options"))
        references.check_options(options, beside)
        captions = await read_captions(form.optional_file("captions"), options)
        options = with_caption(options, captions, file.name)
        said = {
            "options": options.model_dump(mode="json"),
            "file": file.sha256,
            "name": file.name,
            "reference": beside and beside.sha256,
        }

        async def _act(keep: Keep) -> StoredAnswer:
            arrival = await intake.check_upload(services, file)
            references.check_rate(options, arrival.info)
            reference = None if beside is None else await references.check_reference(services, beside)
            request_id = request.scope.get("misc.request_id")
            return await run_in_threadpool(partial(_submit, services, arrival, reference, options, request_id, keep))

        return await answered_once(request, services, said, _act)


@router.get("", summary="List images, newest first")
def list_images(
    services: ServicesDependency,
    limit: Limit = 50,
    cursor: ImageCursor = None,
    state: ImageState | None = None,
    batch_id: BatchFilter = None,
) -> ImagePage:
    """A page of images. Lists stay stable while images are added."""
    with services.database.read() as session:
        page = images.list_images(session, limit=limit, before=cursor, state=state, batch_id=batch_id)
        latest = _latest_jobs(session, [image.id for image in page.rows])
        items = [describe_image(image, image.description, latest.get(image.id)) for image in page.rows]
    return ImagePage(items=items, next_cursor=page.next_cursor)


@router.get("/{image_id}", summary="Look at an image")
def get_image(services: ServicesDependency, image_id: ImageId) -> ImageDetail:
    """Sizes, bits per pixel and their breakdown, description, maps, timings, the latest job and reconstructions."""
    with services.database.read() as session:
        image = images.get(session, image_id)
        job = queries.latest_by_image(session, [image_id]).get(image_id)
        told = describe_job(job, queries.queue_position(session, job)) if job is not None else None
        answer = describe_image(image, image.description, told)
        rows = session.scalars(
            select(Reconstruction)
            .where(Reconstruction.image_id == image_id)
            .order_by(Reconstruction.id.desc())
            .limit(_SHOWN_RECONSTRUCTIONS)
        ).all()
    return ImageDetail(**dict(answer), reconstructions=describe_reconstructions(rows))


@router.delete("/{image_id}", status_code=204, summary="Delete an image")
def delete_image(services: ServicesDependency, image_id: ImageId) -> Response:
    """Cancels its jobs and deletes its stream, its original and its reconstructions, unless another image has them."""
    with services.database.write() as session:
        # Locks are taken in one order everywhere: jobs, then the image, then loose objects.
        for job_id in queries.open_ids(session, image_id=image_id):
            transitions.cancel(session, job_id)
        images.delete_image(session, image_id)
    return Response(status_code=204)


@router.head("/{image_id}/bitstream", include_in_schema=False)
@router.get(
    "/{image_id}/bitstream",
    summary="Fetch the stream",
    response_class=Response,
    responses={
        200: {"content": {MISC: {}}, "description": "The `.misc` file."},
        206: {"content": {MISC: {}}, "description": "The range that was asked for."},
        304: {"description": "The caller has it already."},
        307: {"description": "An address at the object store, if `redirect` was asked for and there is one."},
    },
)
async def fetch_bitstream(
    request: Request, services: ServicesDependency, image_id: ImageId, redirect: bool = False
) -> Response:
    """The `.misc` file, with a strong ETag (its SHA-256) and byte ranges. With `redirect=true` it is fetched from the
    object store itself where that has signed addresses."""
    image = await run_in_threadpool(_read_image, services, image_id)
    if image.bitstream_sha256 is None or image.bitstream_bytes is None:
        raise NotReady(f"Image {image.id} is {image.state}; it has no stream yet.")
    download = Download(
        key=bitstream_key(image.bitstream_sha256),
        sha256=image.bitstream_sha256,
        size_bytes=image.bitstream_bytes,
        media_type=MISC,
        name=renamed(image.name, "misc"),
    )
    return await send_object(request, services.storage, download, redirect=redirect)


@router.head("/{image_id}/original", include_in_schema=False)
@router.get(
    "/{image_id}/original",
    summary="Fetch the original, where it was kept",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}, "description": "The file that was handed in."}},
)
async def fetch_original(request: Request, services: ServicesDependency, image_id: ImageId) -> Response:
    """What was handed in, byte for byte; 404 once it is gone. It stays where `keep_original` was asked for, and where
    no stream was made of it."""
    image = await run_in_threadpool(_read_image, services, image_id)
    if image.original_key is None or image.original_bytes is None or image.original_sha256 is None:
        raise NotFound(f"The original of image {image.id} was not kept.")
    download = Download(
        key=image.original_key,
        sha256=image.original_sha256,
        size_bytes=image.original_bytes,
        media_type=image.media_type,
        name=image.name,
        inline=True,
    )
    return await send_object(request, services.storage, download)


def _read_image(services: Services, image_id: str) -> Image:
    with services.database.read() as session:
        return images.get(session, image_id)


def _submit(
    services: Services,
    arrival: intake.Arrival,
    reference: references.Reference | None,
    options: SubmitOptions,
    request_id: str | None,
    keep: Keep,
) -> StoredAnswer:
    batch_id = None if options.batch_id is None else check_batch_id(options.batch_id)
    if batch_id is not None:
        with services.database.read() as session:
            batches.get(session, batch_id)
    with intake.removed_on_failure(services, [arrival]):
        intake.store(services, arrival)
        if reference is not None:
            references.store(services, reference)
        with services.database.write() as session:
            image, job_id = intake.record(
                session,
                services,
                arrival,
                options.encode_options(),
                keep_original=options.keep_original,
                batch_id=batch_id,
                request_id=request_id,
                reference=reference,
                reference_bpp=options.reference_bpp,
            )
            job = queries.get(session, job_id)
            told = describe_job(job, queries.queue_position(session, job))
            body = SubmittedImage(image=describe_image(image, None, told), job=told)
            answer = answer_of(202, body, told.links.self)
            keep(session, answer)
    services.outbox_sender.notify([job_id], ENCODE)
    return answer


def _latest_jobs(session: Session, image_ids: list[str]) -> dict[str, JobAnswer]:
    """The latest job of each image, in two statements for a whole page."""
    return {image_id: describe_job(job) for image_id, job in queries.latest_by_image(session, image_ids).items()}
