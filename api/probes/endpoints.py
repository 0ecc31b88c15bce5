"""`/v1/probes`: a job that does nothing, on the shortest way through the whole service."""

from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.jobs.schemas import describe_links
from api.openapi import IDEMPOTENCY_PARAMETER, json_body
from api.probes.schemas import ProbeJob, ProbeOptions, SubmittedProbe
from api.replay import Keep, answer_of, answered_once, keep_nothing
from api.services import Services, ServicesDependency
from api.uploads import read_json_object
from core.broker import QUEUES
from core.errors import RequestInvalid
from core.idempotency import StoredAnswer
from core.jobs import transitions
from core.jobs.job import JobSpec
from models.job import JobKind

router = APIRouter(prefix="/v1/probes", tags=["probes"])


@router.post(
    "",
    status_code=202,
    summary="Probe a queue",
    response_model=SubmittedProbe,
    openapi_extra=json_body(ProbeOptions, {"is anybody there": {"queue": "encode"}})
    | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def submit_probe(request: Request, services: ServicesDependency) -> Response:
    """Orders a job that does nothing. That it succeeds shows that the queue is consumed and results are recorded."""
    options = await read_json_object(request)
    queue = options.get("queue")
    if queue not in QUEUES or len(options) != 1:
        raise RequestInvalid(f'The body has to be {{"queue": NAME}} with one of {", ".join(QUEUES)}.')
    request_id = request.scope.get("misc.request_id")

    async def _act(keep: Keep) -> StoredAnswer:
        return await run_in_threadpool(partial(_submit, services, queue, request_id, keep))

    return await answered_once(request, services, options, _act)


def _submit(services: Services, queue: str, request_id: str | None, keep: Keep) -> StoredAnswer:
    spec = JobSpec(JobKind.PROBE, queue, request_id=request_id, max_attempts=services.max_attempts)
    with services.database.write() as session:
        job_id = transitions.create(session, spec)
        if keep is not keep_nothing:
            # Without a key the answer is made after the transaction, which others may be waiting for.
            keep(session, _answer(job_id, queue))
    services.outbox_sender.notify([job_id], queue)
    return _answer(job_id, queue)


def _answer(job_id: str, queue: str) -> StoredAnswer:
    links = describe_links(job_id)
    return answer_of(202, SubmittedProbe(job=ProbeJob(id=job_id, queue=queue, links=links)), links.self)
