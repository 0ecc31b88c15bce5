"""Puts the application together from its parts; decides nothing about any of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from api.audit import AuditMiddleware
from api.auth import AuthMiddleware
from api.batches.contents import router as batch_contents
from api.batches.endpoints import router as batches
from api.batches.events import router as batch_events
from api.bitstreams.endpoints import router as bitstreams
from api.body_limit import BodyLimitMiddleware
from api.errors import PROBLEM_RESPONSES, install_error_handlers
from api.health.endpoints import router as health
from api.health.readiness import ReadinessCheck
from api.images.endpoints import router as images
from api.images.views import router as views
from api.images.zip import router as zips
from api.jobs.endpoints import router as jobs
from api.jobs.events import StreamLimit
from api.jobs.events import router as job_events
from api.metrics import Metrics, MetricsMiddleware
from api.openapi import install_openapi
from api.probes.endpoints import router as probes
from api.reconstructions.endpoints import router as reconstructions
from api.request_id import RequestIdMiddleware
from api.root_path import RootPathMiddleware
from api.security_headers import SecurityHeadersMiddleware
from api.services import Services
from api.tracing import TracingMiddleware
from api.usage.endpoints import router as usage
from api.web.endpoints import router as web
from api.webhooks.endpoints import router as webhooks
from api.workers.endpoints import router as workers
from core.tracing import close_tracing
from core.version import service_version


def create_app(services: Services) -> FastAPI:
    """The application around these services; it starts them with its lifespan and closes them at its end."""

    @asynccontextmanager
    async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        await services.close()
        # Here, because a server that was stopped by a signal ends its process by that signal, and returns to nobody.
        close_tracing()

    metrics = Metrics(services.database)
    app = FastAPI(
        title="MISC archive",
        version=service_version(),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
        # Generated clients call their functions by these.
        generate_unique_id_function=lambda route: route.name,
        middleware=[
            Middleware(RootPathMiddleware, root_path=services.settings.root_path),
            Middleware(SecurityHeadersMiddleware),
            # Outside of what logs the answer, whose line names the trace.
            Middleware(TracingMiddleware),
            Middleware(RequestIdMiddleware),
            Middleware(MetricsMiddleware, metrics=metrics),
            Middleware(AuditMiddleware),
            Middleware(AuthMiddleware, keys=services.settings.keys, book=services.api_keys),
            Middleware(BodyLimitMiddleware, settings=services.settings),
        ],
    )
    app.state.services = services
    app.state.metrics = metrics
    app.state.stream_limit = StreamLimit(services.settings.max_event_streams)
    app.state.readiness = ReadinessCheck(services)
    install_error_handlers(app)
    # Routes are tried in this order: the most frequent come first.
    app.state.routers = (
        probes,
        jobs,
        job_events,
        zips,
        images,
        views,
        reconstructions,
        batches,
        batch_contents,
        batch_events,
        bitstreams,
        usage,
        webhooks,
        workers,
        health,
        web,
    )
    for router in app.state.routers:
        app.include_router(router)
    install_openapi(app, services.settings.root_path)
    return app
