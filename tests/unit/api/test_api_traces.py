"""One trace leads from the request over its job to the engine's steps, as a real collector would be sent it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.services import Services
from codec.options import Profile
from codec.weights.store import WeightsStore
from core.broker import DECODE
from core.errors import SettingsInvalid
from core.jobs.lease import LeaseKeeper
from core.logging import configure_logging, get_logger
from core.settings import BrokerSettings, LMMSettings, LogSettings, NetworkSettings, TracingSettings, WorkerSettings
from core.storage.mirrored import Copies
from core.tracing import close_tracing, configure_tracing, span, trace_parent
from tests.otlp_collector import Collector, attribute, otlp_collector
from tests.unit.api.samples import picture, stream
from tests.unit.workers.silent import Silent
from workers.handlers import Handlers
from workers.runner import Runner
from workers.services import WorkerServices

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with otlp_collector() as collector:
        configure_tracing(TracingSettings(endpoint=collector.address), "test")
        yield collector
        close_tracing()


def _run_decode(services: Services, folder: Path) -> None:
    """One attempt of a worker in this process."""
    silent: Any = Silent()
    settings, copies = WorkerSettings(), Copies(services.storage)
    worker = WorkerServices(settings, services.database, services.storage, silent, silent, WeightsStore(folder), copies)
    handlers = Handlers(worker, BrokerSettings(), LMMSettings(), NetworkSettings(), Profile.LITE)
    Runner("decode@host:1", handlers, worker, LeaseKeeper(services.database, settings.lease)).run(DECODE)
    handlers.close()


def test_one_trace_leads_from_the_request_to_the_steps_of_the_engine(
    client: TestClient, services: Services, collector: Collector, tmp_path: Path
) -> None:
    image = client.post("/v1/bitstreams", files={"file": ("a.misc", stream())}).json()["image"]
    order = client.post(
        f"/v1/images/{image['id']}/reconstructions", json={"restorer": "smooth"}, headers={"traceparent": CALLER}
    )
    assert order.status_code == 202
    _run_decode(services, tmp_path)
    assert client.get(order.headers["location"]).json()["state"] == "succeeded"
    close_tracing()

    request = collector.spans["POST /v1/images/{image_id}/reconstructions"]
    job, engine = collector.spans["job decode"], collector.spans["engine"]
    stages = [collector.spans[name] for name in ("fetch", "load", "coarse", "restore", "store")]
    assert {one.trace_id.hex() for one in (request, job, engine, *stages)} == {CALLER[3:35]}
    assert request.parent_span_id.hex() == CALLER[36:52]
    assert job.parent_span_id == request.span_id
    assert {one.parent_span_id for one in (engine, *stages)} == {job.span_id}
    assert [one.start_time_unix_nano for one in stages] == sorted(one.start_time_unix_nano for one in stages)
    assert all(one.start_time_unix_nano <= one.end_time_unix_nano <= job.end_time_unix_nano for one in stages)
    assert attribute(request, "http.response.status_code") == 202
    assert attribute(job, "misc.outcome") == "succeeded"
    assert attribute(engine, "misc.steps_done") == attribute(engine, "misc.steps") >= 1


def test_lines_of_the_log_name_the_trace_and_the_span(collector: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json"), "test")
    with span("outer"):
        parent = trace_parent()
        get_logger(__name__).info("inside")
    get_logger(__name__).info("outside")
    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert parent is not None and parent.split("-")[1:3] == [inside["trace_id"], inside["span_id"]]
    assert "trace_id" not in outside
    assert collector.spans == {}, "spans are sent later, or at the end"


def test_nothing_is_traced_without_a_collector(client: TestClient, services: Services) -> None:
    configure_tracing(TracingSettings(), "test")
    with span("anything") as traced:
        traced.note(a=1)
        traced.note_failure("reason")
        assert trace_parent() is None
    assert client.post("/v1/images", files={"file": ("a.png", picture(), "image/png")}).status_code == 202


def test_collector_that_is_away_holds_nobody_up(client: TestClient) -> None:
    configure_tracing(TracingSettings(endpoint="http://127.0.0.1:9"), "test")
    try:
        assert client.get("/v1/images").status_code == 200
    finally:
        close_tracing()


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector", "http://"])
def test_address_of_a_collector_has_to_be_one(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.settings import load

    monkeypatch.setenv("MISC_TRACING_ENDPOINT", endpoint)
    with pytest.raises(SettingsInvalid, match="MISC_TRACING_ENDPOINT"):
        load(TracingSettings)
