"""`/healthz`, `/readyz` and `/metrics`."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.auth import FOR_OPERATORS
from api.health.readiness import ReadinessCheck
from api.health.schemas import Alive, Readiness
from api.metrics import Metrics
from core.version import service_version

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process up?")
async def is_alive() -> Alive:
    """Always 200 while the process answers. Needs no key."""
    return Alive(version=service_version())


@router.get(
    "/readyz",
    summary="Can requests be served?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something that is needed does not answer."}},
)
def is_ready(request: Request) -> Response:
    """Database (with its tables) and storage have to answer. Without the broker it is ready but `degraded`: jobs are
    taken and safe, and start once it is back. Needs no key."""
    check: ReadinessCheck = request.app.state.readiness
    readiness = check.look()
    return JSONResponse(readiness.model_dump(), 503 if readiness.status == "unready" else 200)


@router.get(
    "/metrics",
    dependencies=[FOR_OPERATORS],
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The text format of Prometheus."}},
)
def tell_metrics(request: Request) -> Response:
    """Requests and their latency in this process; open jobs by queue and state and unsent wake-ups in the database."""
    metrics: Metrics = request.app.state.metrics
    content, media_type = metrics.render()
    return Response(content, media_type=media_type)
