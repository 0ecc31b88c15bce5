"""Traces of what a request set off, across processes, by OpenTelemetry. Without a collector in the settings nothing is
imported and nothing is done; what is traced never depends on the collector.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from core.errors import SettingsInvalid
from core.settings.tracing import TracingSettings
from core.version import service_version

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as VendorSpan
    from opentelemetry.trace import Tracer

Value = str | int | float | bool

_PARENT = "traceparent"
"""The header of W3C's Trace Context, and what a job's row keeps of it."""


class SpanKind(StrEnum):
    """The part of a span's process in what is traced."""

    INTERNAL = "internal"
    """Work within a process."""
    SERVER = "server"
    """The answer to a request."""
    CONSUMER = "consumer"
    """Work that somebody ordered, and does not wait for."""


class Span:
    """One piece of work with its beginning and end, or nothing where nothing is traced."""

    def __init__(self, traced: "VendorSpan | None" = None) -> None:
        self._traced = traced

    def note(self, **attributes: Value | None) -> None:
        """Tell more of it; `__` in a name stands for a point, and None says nothing."""
        if self._traced is not None:
            self._traced.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        """Call it otherwise than at its beginning."""
        if self._traced is not None:
            self._traced.update_name(name)

    def note_failure(self, reason: str) -> None:
        """Tell that it came to nothing."""
        if self._traced is not None:
            from opentelemetry.trace import Status, StatusCode

            self._traced.set_status(Status(StatusCode.ERROR, reason))


class Tracing:
    """The traces of one process."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("misc")

    @classmethod
    def to_collector(cls, settings: TracingSettings, process: str) -> Self:
        """Traces that are sent, by a thread of their own, to the collector; raises SettingsInvalid."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError:
            raise SettingsInvalid(
                "MISC_TRACING_ENDPOINT needs OpenTelemetry, which is not installed here. "
                "Run: pip install 'misc-archive[otel]'"
            ) from None
        provider = TracerProvider(
            resource=Resource.create({"service.name": f"misc-{process}", "service.version": service_version()}),
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            shutdown_on_exit=False,
        )
        address = f"{(settings.endpoint or '').rstrip('/')}/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=5)))
        return cls(provider)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


_tracing: Tracing | None = None


def configure_tracing(settings: TracingSettings, process: str) -> None:
    """Trace what this process does, where a collector is set; raises SettingsInvalid."""
    global _tracing
    _tracing = Tracing.to_collector(settings, process) if settings.endpoint is not None else None


def close_tracing() -> None:
    """Send what is left, and trace no more."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        tracing.close()


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: Value | None
) -> Iterator[Span]:
    """A span around the block, below the one that is open here, or below `parent` of another process.

    Attributes are as in `Span.note`.
    """
    if _tracing is None:
        yield Span()
        return
    from opentelemetry.trace import SpanKind as VendorKind

    with _tracing.tracer.start_as_current_span(
        name, _context_of(parent), VendorKind[kind.name], _named(attributes)
    ) as traced:
        yield Span(traced)


class Stages:
    """The stages of a piece of work, a span for each, below the span that is open where this is made."""

    def __init__(self) -> None:
        self._open: VendorSpan | None = None
        self._context: Context | None = None
        if _tracing is not None:
            from opentelemetry import context

            self._context = context.get_current()

    def enter(self, name: str) -> None:
        """End the stage before and begin this one."""
        self.close()
        if _tracing is not None:
            self._open = _tracing.tracer.start_span(name, self._context)

    def close(self) -> None:
        """End the last stage."""
        if self._open is not None:
            self._open.end()
            self._open = None


def trace_parent() -> str | None:
    """What another process needs to know to go on with the trace that is open here; None without one."""
    if _tracing is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_PARENT)


def add_trace_ids(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the open trace and span in a line of the log: a processor of structlog."""
    if _tracing is not None:
        from opentelemetry.trace import get_current_span

        here = get_current_span().get_span_context()
        if here.is_valid:
            line.update({"trace_id": f"{here.trace_id:032x}", "span_id": f"{here.span_id:016x}"})
    return line


def _context_of(parent: str | None) -> "Context | None":
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return None if parent is None else TraceContextTextMapPropagator().extract({_PARENT: parent})


def _named(attributes: dict[str, Value | None]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
