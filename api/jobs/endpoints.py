"""`/v1/jobs`: list, look, cancel, retry."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.idempotent import IdempotentRun, run_idempotent
from api.identifiers import BatchFilter, ImageFilter, JobCursor, JobId, Limit
from api.jobs.schemas import JobOut, JobPage, RefusedRetry, RetriedJobs, to_out
from api.openapi import IDEMPOTENCY_PARAMETER
from api.services import Services, ServicesDependency
from core.jobs import queries, transitions
from core.owners.view import View
from models.job import JobKind, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ErrorCode = Annotated[str, Query(pattern="^[a-z_]{1,60}$", description="Only those whose last error has this code.")]
RetryLimit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]


@router.get("", summary="List jobs, newest first")
def list_jobs(
    services: ServicesDependency,
    caller: CallerDependency,
    limit: Limit = 50,
    cursor: JobCursor = None,
    state: JobState | None = None,
    kind: JobKind | None = None,
    code: ErrorCode | None = None,
    image_id: ImageFilter = None,
    batch_id: BatchFilter = None,
) -> JobPage:
    """A page of jobs. Lists stay stable while jobs are added."""
    with services.database.read() as session:
        rows = queries.list_jobs(
            session,
            caller.view,
            limit=limit + 1,
            before=cursor,
            state=state,
            kind=kind,
            code=code,
            image_id=image_id,
            batch_id=batch_id,
        )
    return JobPage(
        items=[to_out(job) for job in rows[:limit]],
        next_cursor=rows[limit - 1].id if len(rows) > limit else None,
    )


@router.get("/{job_id}", summary="Look at a job")
def get_job(services: ServicesDependency, caller: CallerDependency, job_id: JobId) -> JobOut:
    """State, progress in 0..1, stage, place in the queue, attempts and the error of the last one."""
    return read_job(services, caller.view, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel_job(services: ServicesDependency, caller: CallerDependency, job_id: JobId) -> JobOut:
    """A waiting job ends at once, a running one at its next step; one that has ended stays as it is."""
    return await run_in_threadpool(_cancel, services, caller.view, job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Retry a job",
    response_model=JobOut,
    openapi_extra={"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def retry_job(
    request: Request, services: ServicesDependency, caller: CallerDependency, job_id: JobId
) -> Response:
    """A job that failed or was cancelled is queued again, with all its attempts, and its image or reconstruction waits
    for it again. 409 `conflict` for any other job, and where the original is not there any more."""
    async with run_idempotent(request, services, {}) as run:
        if run.is_new:
            await run_in_threadpool(_retry, services, caller.view, job_id, run)
    return run.response()


@router.post(
    "/retry",
    status_code=202,
    summary="Retry the jobs that failed with a code",
    response_model=RetriedJobs,
    openapi_extra={"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def retry_jobs(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    code: ErrorCode,
    limit: RetryLimit = 100,
    cursor: JobCursor = None,
) -> Response:
    """Oldest first, up to `limit` with one request; `next_cursor` goes on. Those that cannot be retried are named."""
    async with run_idempotent(request, services, {"code": code, "limit": limit, "cursor": cursor}) as run:
        if run.is_new:
            await run_in_threadpool(_retry_failed, services, caller.view, code, limit, cursor or "", run)
    return run.response()


def read_job(services: Services, view: View, job_id: str) -> JobOut:
    """The job as it is now, with its place in the queue; raises NotFound."""
    with services.database.read() as session:
        job = queries.get(session, job_id, view)
        return to_out(job, queries.queue_position(session, job))


def _cancel(services: Services, view: View, job_id: str) -> JobOut:
    with services.database.write() as session:
        queries.get(session, job_id, view)
        return to_out(transitions.cancel(session, job_id))


def _retry(services: Services, view: View, job_id: str, run: IdempotentRun) -> None:
    with services.database.read() as session:
        job_row = queries.get(session, job_id, view)
        queue, position = job_row.queue, queries.next_position(session, job_row.queue, job_row.priority)
    services.queue_limit.admit(queue)
    with services.database.write() as session:
        job = to_out(transitions.reopen(session, job_id), position)
        run.store_response(session, 202, job, job.links.self)
    services.outbox_sender.notify([job_id], queue)


def _retry_failed(services: Services, view: View, code: str, limit: int, after: str, run: IdempotentRun) -> None:
    with services.database.read() as session:
        failed = queries.ended_with(session, view, code, limit + 1, after)
        wanted = Counter(queries.get(session, job_id, view).queue for job_id in failed[:limit])
    for queue, jobs in wanted.items():
        services.queue_limit.admit(queue, jobs)
    with services.database.write() as session:
        retried, reasons = transitions.reopen_each(session, failed[:limit])
        queues = {job.id: job.queue for job in retried}
        body = RetriedJobs(
            retried=list(queues),
            refused=[RefusedRetry(id=job_id, detail=reason) for job_id, reason in reasons.items()],
            next_cursor=failed[limit - 1] if len(failed) > limit else None,
        )
        run.store_response(session, 202, body, None)
    for job_id, queue in queues.items():
        services.outbox_sender.notify([job_id], queue)
