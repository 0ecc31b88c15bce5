"""`/v1/jobs`: list, look, cancel."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from api.identifiers import BatchFilter, ImageFilter, JobCursor, JobId, Limit
from api.jobs.schemas import JobOut, JobPage, to_out
from api.services import Services, ServicesDependency
from core.jobs import queries, transitions
from models.job import JobKind, JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("", summary="List jobs, newest first")
def list_jobs(
    services: ServicesDependency,
    limit: Limit = 50,
    cursor: JobCursor = None,
    state: JobState | None = None,
    kind: JobKind | None = None,
    image_id: ImageFilter = None,
    batch_id: BatchFilter = None,
) -> JobPage:
    """A page of jobs. Lists stay stable while jobs are added."""
    with services.database.read() as session:
        rows = queries.list_jobs(
            session,
            limit=limit + 1,
            before=cursor,
            state=state,
            kind=kind,
            image_id=image_id,
            batch_id=batch_id,
        )
    return JobPage(
        items=[to_out(job) for job in rows[:limit]],
        next_cursor=rows[limit - 1].id if len(rows) > limit else None,
    )


@router.get("/{job_id}", summary="Look at a job")
def get_job(services: ServicesDependency, job_id: JobId) -> JobOut:
    """State, progress in 0..1, stage, place in the queue, attempts and the error of the last one."""
    return read_job(services, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel_job(services: ServicesDependency, job_id: JobId) -> JobOut:
    """A waiting job ends at once, a running one at its next step; one that has ended stays as it is."""
    return await run_in_threadpool(_cancel, services, job_id)


def read_job(services: Services, job_id: str) -> JobOut:
    """The job as it is now, with its place in the queue; raises NotFound."""
    with services.database.read() as session:
        job = queries.get(session, job_id)
        return to_out(job, queries.queue_position(session, job))


def _cancel(services: Services, job_id: str) -> JobOut:
    with services.database.write() as session:
        return to_out(transitions.cancel(session, job_id))
