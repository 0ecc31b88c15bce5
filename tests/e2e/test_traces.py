"""A trace of whole processes: what one caller sets off in the API, an encode and a decode worker is one tree."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack
from tests.otlp_collector import Collector, ReceivedSpan, attribute, otlp_collector

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

_TRACE, _CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_HEADERS = {"traceparent": f"00-{_TRACE}-{_CALLER}-01", "Prefer": "wait=60"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with otlp_collector() as collector:
        yield collector


def _picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _one(received: list[ReceivedSpan], name: str) -> ReceivedSpan:
    [found] = [one for one in received if one.span.name == name]
    return found


def test_trace_of_a_caller_is_one_tree_over_three_processes(tmp_path: Path, collector: Collector) -> None:
    environment = isolated_environment(os.environ) | {"MISC_TRACING_ENDPOINT": collector.address}
    with EmbeddedStack(tmp_path / "data", 0, environment=environment) as stack:
        stack.wait_ready()
        pids = {name: stack.pids[name] for name in ("api", "encode-1", "decode-1")}
        with httpx.Client(base_url=stack.base_url, timeout=90, headers=_HEADERS) as client:
            image = client.post("/v1/images", files={"file": ("a.png", _picture(), "image/png")}).json()["image"]
            order = client.post(f"/v1/images/{image['id']}/reconstructions", json={"restorer": "smooth"}).json()
            assert (image["state"], order["reconstruction"]["state"]) == ("ready", "ready")
    # Processes that end send what they still have.
    assert len(set(pids.values())) == 3
    tree = [one for one in collector.received if one.span.trace_id.hex() == _TRACE]
    assert {one.service for one in tree} == {"misc-api", "misc-worker-encode", "misc-worker-decode"}

    upload, wanted = _one(tree, "POST /v1/images"), _one(tree, "POST /v1/images/{image_id}/reconstructions")
    encode, decode = _one(tree, "job encode"), _one(tree, "job decode")
    assert (upload.service, encode.service, decode.service) == ("misc-api", "misc-worker-encode", "misc-worker-decode")
    assert encode.span.parent_span_id == upload.span.span_id
    assert decode.span.parent_span_id == wanted.span.span_id
    assert {attribute(one.span, "misc.outcome") for one in (encode, decode)} == {"succeeded"}

    ids = [one.span.span_id.hex() for one in tree]
    assert len(set(ids)) == len(ids)
    below_the_caller = [one.span.name for one in tree if one.span.parent_span_id.hex() == _CALLER]
    assert sorted(below_the_caller) == [upload.span.name, wanted.span.name]
    assert {one.span.parent_span_id.hex() for one in tree} <= {_CALLER, *ids}, "no span hangs in the air"
    stages = {one.span.name for one in tree if one.span.parent_span_id in (encode.span.span_id, decode.span.span_id)}
    assert stages >= {"coarse", "pack", "store", "verify", "restore", "engine"}
