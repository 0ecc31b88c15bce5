"""`/v1/workers`: list, drain, resume."""

from fastapi import APIRouter

from api.auth import FOR_OPERATORS
from api.identifiers import WorkerId
from api.services import Services, ServicesDependency
from api.workers.schemas import WorkerList, WorkerOut, to_out
from core.jobs import workers

router = APIRouter(prefix="/v1/workers", tags=["workers"], dependencies=[FOR_OPERATORS])


@router.get("", summary="List worker processes")
def list_workers(services: ServicesDependency) -> WorkerList:
    """Each worker tells of itself every five seconds; one that ends in order is not listed any more."""
    with services.database.read() as session:
        return WorkerList(items=[to_out(worker, state) for worker, state in workers.list_workers(session)])


@router.post("/{worker_id}/drain", summary="Drain a worker")
def drain_worker(services: ServicesDependency, worker_id: WorkerId) -> WorkerOut:
    """It hears of it within five seconds, finishes what it has under way, and takes nothing more until it is resumed or
    started anew. The process stays."""
    return _request_drain(services, worker_id, True)


@router.post("/{worker_id}/resume", summary="Resume a worker")
def resume_worker(services: ServicesDependency, worker_id: WorkerId) -> WorkerOut:
    """A drained worker takes jobs again."""
    return _request_drain(services, worker_id, False)


def _request_drain(services: Services, worker_id: str, is_wanted: bool) -> WorkerOut:
    with services.database.write() as session:
        return to_out(*workers.request_drain(session, worker_id, is_wanted))
