"""`/v1/images`: hand in, list, look, fetch, delete."""

from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.downloads import send_object
from api.idempotent import run_idempotent
from api.identifiers import BatchFilter, ImageCursor, ImageId, Limit, SearchQuery
from api.images import intake
from api.images.captions import CAPTIONS_FIELD
from api.images.files import original_of, stream_of
from api.images.schemas import (
    ImageDetail,
    ImagePage,
    SimilarImage,
    SimilarImages,
    SubmitOptions,
    SubmittedImage,
    reconstructions_to_out,
    to_out,
)
from api.jobs.schemas import to_out as job_to_out
from api.openapi import IDEMPOTENCY_PARAMETER, PREFER_PARAMETER, file_content, file_schema, form_body, inlined_schema
from api.prefer import answer_after_wait
from api.quota import check_quota
from api.services import Services, ServicesDependency
from api.uploads import received_form
from codec.errors import CodecError
from codec.media import MISC
from core.archive import images, likeness, reconstructions
from core.broker import ENCODE
from core.errors import UploadTooLarge
from core.jobs import queries
from core.owners.view import View
from models.image import Image, ImageState
from models.job import JobKind

router = APIRouter(prefix="/v1/images", tags=["images"])

_SHOWN_RECONSTRUCTIONS = 20

_SUBMIT_FORM = form_body(
    {
        "file": file_schema("The picture."),
        "options": inlined_schema(SubmitOptions),
        "reference": file_schema(
            "A finished picture of an outside codec, for mode `ref` with `reference_bpp`. It is stored with the "
            "stream, which names it by digest."
        ),
        "captions": CAPTIONS_FIELD,
    },
    ["file"],
)


@router.post(
    "",
    status_code=202,
    summary="Hand in a picture",
    response_model=SubmittedImage,
    responses={200: {"model": SubmittedImage, "description": "The job ended while the answer waited (`Prefer`)."}},
    openapi_extra=_SUBMIT_FORM | {"parameters": [IDEMPOTENCY_PARAMETER, PREFER_PARAMETER]},
)
async def submit_image(request: Request, services: ServicesDependency, caller: CallerDependency) -> Response:
    """Takes JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP, HEIC and JPEG XL up to 100 million pixels, as the form field
    `file`; a relative path as its file name is kept as `folder` and `name`. `options` is a JSON object; everything in
    it has a default. The answer names the job in `Location`."""
    job = services.job(request, JobKind.ENCODE, ENCODE)
    async with received_form(request, max_files=3) as form:
        incoming = await intake.read_form(services, form)
        async with services.upload_turns.taken(), run_idempotent(request, services, incoming.payload) as run:
            if run.is_new:
                await run_in_threadpool(services.queue_limit.check, job.queue)
                await check_quota(services, job.owner)
                try:
                    new = await intake.check(services, incoming)
                except (CodecError, UploadTooLarge) as error:
                    await run_in_threadpool(intake.note_rejection, services, incoming, job.owner, error)
                    raise
                await services.storage_threads.run(intake.submit, services, incoming, new, job, run)
    # The upload's files are gone and its turn is over: a wait holds up nobody.
    image_id, job_id = run.body["image"]["id"], run.body["job"]["id"]
    read = partial(_read_submitted, services, caller.view, image_id, job_id)
    return await answer_after_wait(request, services, run, [job_id], read)


@router.get("", summary="List images, newest first")
def list_images(
    services: ServicesDependency,
    caller: CallerDependency,
    limit: Limit = 50,
    cursor: ImageCursor = None,
    state: ImageState | None = None,
    batch_id: BatchFilter = None,
    q: SearchQuery = None,
) -> ImagePage:
    """A page of images. Lists stay stable while images are added. With `q`, those whose name, items or description
    have for each of its words one that begins with it."""
    with services.database.read() as session:
        page = images.list_images(
            session, caller.view, limit=limit, before=cursor, state=state, batch_id=batch_id, words=q
        )
        jobs = queries.latest_by_image(session, [image.id for image in page.rows])
    latest = {image_id: job_to_out(job) for image_id, job in jobs.items()}
    return ImagePage(items=[to_out(image, latest.get(image.id)) for image in page.rows], next_cursor=page.next_cursor)


@router.get("/{image_id}", summary="Look at an image")
def get_image(services: ServicesDependency, caller: CallerDependency, image_id: ImageId) -> ImageDetail:
    """Sizes, bits per pixel and their breakdown, description, maps, timings, the latest job and reconstructions."""
    with services.database.read() as session:
        image = images.get(session, image_id, caller.view)
        job = queries.latest_by_image(session, [image_id]).get(image_id)
        job_out = None if job is None else job_to_out(job, queries.queue_position(session, job))
        rows = reconstructions.latest_of_image(session, image_id, _SHOWN_RECONSTRUCTIONS)
    return ImageDetail(**dict(to_out(image, job_out)), reconstructions=reconstructions_to_out(rows))


@router.get("/{image_id}/similar", summary="Find images that look alike")
def list_similar(
    services: ServicesDependency, caller: CallerDependency, image_id: ImageId, limit: Limit = 50
) -> SimilarImages:
    """Images whose originals look like this one's: saved again, smaller, or with more loss. Nearest first."""
    with services.database.read() as session:
        hashed = images.get(session, image_id, caller.view).perceptual_hash
        rows = likeness.similar(session, hashed, caller.view, besides=image_id, limit=limit)
    return SimilarImages(
        perceptual_hash=None if hashed is None else f"{hashed & (2**64 - 1):016x}",
        items=[SimilarImage(distance=bits, image=to_out(image)) for bits, image in rows],
    )


@router.delete("/{image_id}", status_code=204, summary="Delete an image")
def delete_image(services: ServicesDependency, caller: CallerDependency, image_id: ImageId) -> Response:
    """Cancels its jobs and deletes its stream, its original and its reconstructions, unless another image has them."""
    with services.database.write() as session:
        images.delete_image(session, image_id, caller.view)
    return Response(status_code=204)


@router.head("/{image_id}/bitstream", include_in_schema=False)
@router.get(
    "/{image_id}/bitstream",
    summary="Fetch the stream",
    response_class=Response,
    responses={
        200: {"content": file_content(MISC), "description": "The `.misc` file."},
        206: {"content": file_content(MISC), "description": "The range of the request."},
        304: {"description": "The caller has it already."},
        307: {"description": "An address at the object store, with `redirect=true`, where there is one."},
    },
)
async def fetch_bitstream(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    image_id: ImageId,
    redirect: bool = False,
) -> Response:
    """The `.misc` file, with a strong ETag (its SHA-256) and byte ranges. With `redirect=true` it is fetched from the
    object store itself where that has signed addresses."""
    image = await run_in_threadpool(_read_image, services, caller.view, image_id)
    return await send_object(request, services.storage_threads, stream_of(services, image), redirect=redirect)


@router.head("/{image_id}/original", include_in_schema=False)
@router.get(
    "/{image_id}/original",
    summary="Fetch the original, where it was kept",
    response_class=Response,
    responses={200: {"content": file_content("image/*"), "description": "The file that was handed in."}},
)
async def fetch_original(
    request: Request, services: ServicesDependency, caller: CallerDependency, image_id: ImageId
) -> Response:
    """What was handed in, byte for byte; 404 once it is gone. It stays with the option `keep_original`, and where no
    stream was made of it."""
    image = await run_in_threadpool(_read_image, services, caller.view, image_id)
    return await send_object(request, services.storage_threads, original_of(services, image))


def _read_submitted(services: Services, view: View, image_id: str, job_id: str) -> SubmittedImage:
    with services.database.read() as session:
        job = job_to_out(queries.get(session, job_id, view))
        return SubmittedImage(image=to_out(images.get(session, image_id, view), job), job=job)


def _read_image(services: Services, view: View, image_id: str) -> Image:
    with services.database.read() as session:
        return images.get(session, image_id, view)
