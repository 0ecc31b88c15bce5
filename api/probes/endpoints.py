"""`/v1/probes`: a job that does nothing, on the shortest way through the whole service."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.idempotent import IdempotentRun, run_idempotent
from api.jobs.schemas import links_of
from api.openapi import IDEMPOTENCY_PARAMETER, json_body
from api.probes.schemas import ProbeJob, ProbeOptions, SubmittedProbe
from api.services import Services, ServicesDependency
from api.uploads import read_json_object
from core.broker import QUEUES
from core.errors import RequestInvalid
from core.jobs import transitions
from core.jobs.job import JobSpec
from models.job import JobKind

router = APIRouter(prefix="/v1/probes", tags=["probes"])

_SPARE = 1000
"""A full queue has to be probed too, but not without end."""


@router.post(
    "",
    status_code=202,
    summary="Probe a queue",
    response_model=SubmittedProbe,
    openapi_extra=json_body(ProbeOptions, {"is anybody there": {"queue": "encode"}}, required=True)
    | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def submit_probe(request: Request, services: ServicesDependency) -> Response:
    """Orders a job that does nothing. That it succeeds shows that the queue is consumed and results are recorded."""
    options = await read_json_object(request)
    queue = options.get("queue")
    if queue not in QUEUES or len(options) != 1:
        raise RequestInvalid(f'The body has to be {{"queue": NAME}} with one of {", ".join(QUEUES)}.')
    async with run_idempotent(request, services, options) as run:
        if run.is_new:
            await run_in_threadpool(_submit, services, services.job(request, JobKind.PROBE, queue), run)
    return run.response()


def _submit(services: Services, job: JobSpec, run: IdempotentRun) -> None:
    services.queue_limit.admit(job.queue, spare=_SPARE)
    with services.database.write() as session:
        job_id = transitions.create(session, job)
        links = links_of(job_id)
        run.store_response(
            session, 202, SubmittedProbe(job=ProbeJob(id=job_id, queue=job.queue, links=links)), links.self
        )
    services.outbox_sender.notify([job_id], job.queue)
