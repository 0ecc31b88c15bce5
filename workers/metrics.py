"""Figures of one worker process, for Prometheus; on a port of its own where MISC_WORKER_METRICS_PORT names one."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from codec.usage import Usage
from core.errors import SettingsInvalid
from core.settings import WorkerSettings

_STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""From a pack of a few ms to a decode of minutes on a CPU."""

_STEP_BUCKETS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_TOGETHER_BUCKETS = (1, 2, 4, 8, 16)


class WorkerMetrics:
    """A registry of its own; one for a process, told by many threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._attempts = Counter(
            "misc_attempts",
            "Attempts that ended, by how, and by the code of the error where there was one.",
            ("kind", "outcome", "code"),
            registry=self.registry,
        )
        self._stages = Histogram(
            "misc_stage_seconds",
            "What the stages of jobs that succeeded took; `job` is the whole attempt.",
            ("kind", "stage"),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._bytes = Counter(
            "misc_job_bytes",
            "Bytes that jobs which succeeded read (`in`) and stored (`out`).",
            ("kind", "direction"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "misc_model_tokens", "Tokens that were paid for.", ("model", "direction"), registry=self.registry
        )
        self._cost = Counter(
            "misc_model_cost",
            "Money that answers cost, in the currency of the prices.",
            ("model",),
            registry=self.registry,
        )
        self._steps = Histogram(
            "misc_engine_step_seconds",
            "What one step of the decode engine took, for all requests in it.",
            buckets=_STEP_BUCKETS,
            registry=self.registry,
        )
        self._together = Histogram(
            "misc_engine_step_requests",
            "How many requests shared a step of the decode engine.",
            buckets=_TOGETHER_BUCKETS,
            registry=self.registry,
        )
        self._pixels = Counter(
            "misc_engine_pixels", "Pixels that the decode engine had its networks evaluate.", registry=self.registry
        )
        self._verifications = Counter(
            "misc_verifications", "Objects that the scrubber looked at.", ("outcome",), registry=self.registry
        )
        self._missing_networks = Gauge(
            "misc_missing_networks",
            "Networks that streams cannot be read without, and that neither this machine nor the archive has.",
            registry=self.registry,
        )
        self._in_progress = Gauge("misc_attempts_in_progress", "Attempts under way.", registry=self.registry)

    def serve(self, settings: WorkerSettings, running: Callable[[], float]) -> None:
        """Answer scrapes from a thread, where a port is set; raises SettingsInvalid when it cannot be listened on."""
        self._in_progress.set_function(running)
        if not settings.metrics_port:
            return
        try:
            start_http_server(settings.metrics_port, settings.metrics_host, self.registry)
        except OSError as error:
            address = f"{settings.metrics_host}:{settings.metrics_port}"
            raise SettingsInvalid(f"MISC_WORKER_METRICS_PORT: {address} cannot be listened on: {error}") from None

    def count_attempt(
        self, kind: str, outcome: str, code: str | None, seconds: Mapping[str, float], sizes: Mapping[str, int]
    ) -> None:
        """Note the end of an attempt; `seconds` by stage, `sizes` in bytes by direction."""
        self._attempts.labels(kind, outcome, code or "").inc()
        for stage, spent in seconds.items():
            self._stages.labels(kind, stage).observe(spent)
        for direction, size in sizes.items():
            self._bytes.labels(kind, direction).inc(size)

    def count_answer(self, usage: Usage) -> None:
        """Note what an answer of a language model cost, which is nothing for one that was bought before."""
        if usage.cached:
            return
        self._tokens.labels(usage.model, "input").inc(usage.input_tokens)
        self._tokens.labels(usage.model, "output").inc(usage.output_tokens)
        self._cost.labels(usage.model).inc(usage.cost)

    def count_verification(self, outcome: str) -> None:
        """Note what came of a look at an object."""
        self._verifications.labels(outcome).inc()

    def note_missing_networks(self, count: int) -> None:
        """Note how many networks nobody holds."""
        self._missing_networks.set(count)

    def count_step(self, requests: int, seconds: float, pixels: float) -> None:
        """Note one step of the decode engine."""
        self._steps.observe(seconds)
        self._together.observe(requests)
        self._pixels.inc(max(pixels, 0))
