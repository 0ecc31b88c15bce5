"""What became of a batch: `/v1/batches/{id}/report` in figures, `/v1/batches/{id}/manifest` picture by picture."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.batches.schemas import BatchReport, ManifestLine, image_line, rejection_line, report_to_out
from api.identifiers import BatchId
from api.openapi import file_content
from api.services import Services, ServicesDependency
from core.archive import batch_report, batches
from core.owners.view import View

router = APIRouter(prefix="/v1/batches", tags=["batches"])

JSON_LINES = "application/x-ndjson"

_LINES_AT_ONCE = 500
"""So many are read and written in one go: a manifest of a million lines takes no more memory than one of these."""


@router.get("/{batch_id}/report", summary="Report on a batch")
def report_batch(services: ServicesDependency, caller: CallerDependency, batch_id: BatchId) -> BatchReport:
    """Counts, bits per pixel and failures by reason, as they are now; they stay once `batch.is_done`."""
    with services.database.read() as session:
        batch = batches.get(session, batch_id, caller.view)
        return report_to_out(batch, batch_report.report(session, batch_id))


@router.get(
    "/{batch_id}/manifest",
    summary="List what became of each picture of a batch",
    response_class=Response,
    responses={200: {"content": file_content(JSON_LINES), "description": "JSON lines, each a picture."}},
)
async def fetch_manifest(services: ServicesDependency, caller: CallerDependency, batch_id: BatchId) -> Response:
    """JSON lines, in the order in which pictures came: `name` with its folders, `image_id`, `state`, the stream's
    `sha256` and `bytes`, `bpp`, `original_sha256`, `options`, `notes`, `error`. Pictures that could not be taken come
    last, as `rejected`."""
    await run_in_threadpool(_check, services, caller.view, batch_id)
    return StreamingResponse(_lines(services, batch_id), media_type=JSON_LINES)


def _check(services: Services, view: View, batch_id: str) -> None:
    with services.database.read() as session:
        batches.get(session, batch_id, view)


async def _lines(services: Services, batch_id: str) -> AsyncIterator[str]:
    after: str | None = ""
    while after is not None:
        lines, after = await run_in_threadpool(_page, services, batch_id, after)
        yield "".join(f"{line.model_dump_json()}\n" for line in lines)


def _page(services: Services, batch_id: str, after: str) -> tuple[list[ManifestLine], str | None]:
    with services.database.read() as session:
        page = batch_report.manifest_page(session, batch_id, after, _LINES_AT_ONCE)
    taken = [image_line(image, page.jobs.get(image.id)) for image in page.images]
    return taken + [rejection_line(one) for one in page.rejections], page.next_after
