"""Figures for Prometheus: what this process answered, beside those of the whole service."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.service_figures import ServiceFigures
from core.database import Database

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_UNKNOWN_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})


class Metrics:
    """A registry of its own, so that two applications in one process do not mix their figures."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "misc_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "misc_http_request_seconds",
            "Time until the answer began, uploads included.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "misc_http_requests_in_progress", "Requests that are being answered.", registry=self._registry
        )
        self._registry.register(ServiceFigures(database))

    def render(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class MetricsMiddleware:
    """Counts answers by the route's template, never by the address as it came."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the clock when its answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics
        started = time.perf_counter()
        status = 500

        async def _send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                metrics.seconds.labels(_method(scope), _route(scope)).observe(time.perf_counter() - started)
            await send(message)

        with metrics.in_progress.track_inprogress():
            try:
                await self._app(scope, receive, _send)
            finally:
                metrics.requests.labels(_method(scope), _route(scope), str(status)).inc()


def _method(scope: Scope) -> str:
    """The method, or one word for all that nobody knows: labels must stay few."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _route(scope: Scope) -> str:
    path: str = getattr(scope.get("route"), "path", _UNKNOWN_ROUTE)
    return path
