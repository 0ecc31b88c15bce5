"""The Batch API over real HTTP: lines, files, states, results, and what happens when some of it fails."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.failures import RequestNotTaken
from codec.errors import (
    Cancelled,
    DescriberError,
    DescriberMisconfigured,
    DescriberUnavailable,
    DescriptionRefused,
    DescriptionUnusable,
)
from codec.language_model import Answer, BatchState, BatchStatus, LMMServer, requests_that_fit
from tests.lmm_server.memory import MemoryCache, UnlimitedLimiter
from tests.lmm_server.server import LMMTestServer


def never() -> bool:
    return False


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.fixture
def server() -> Iterator[LMMTestServer]:
    with LMMTestServer() as running:
        yield running


@pytest.fixture
def settings(server: LMMTestServer) -> LMMServer:
    return LMMServer(base_url=server.base_url, api_key="sk-batch", attempts=3, price_input=2.0, price_output=8.0)


@pytest.fixture
def batches(settings: LMMServer) -> Iterator[OpenAIBatches]:
    opened = OpenAIBatches(settings)
    yield opened
    opened.close()


def submit(batches: OpenAIBatches, count: int) -> tuple[list[str], str]:
    lines = [batches.request(noise(number)) for number in range(count)]
    file_id = batches.upload((line.data for line in lines), never)
    return [line.key for line in lines], batches.create(file_id, never)


def finished(batches: OpenAIBatches, batch_id: str) -> BatchStatus:
    for _ in range(10):
        status = batches.poll(batch_id, never)
        if status.state is not BatchState.PENDING:
            return status
    raise AssertionError("the batch does not end")


def results(batches: OpenAIBatches, status: BatchStatus) -> dict[str, Answer | DescriberError]:
    return dict(batches.results(status, never))


def test_batch_gives_the_same_answers_as_single_requests_at_half_the_price(
    server: LMMTestServer, settings: LMMServer, batches: OpenAIBatches
) -> None:
    keys, batch_id = submit(batches, 5)
    assert batches.poll(batch_id, never).state is BatchState.PENDING
    status = finished(batches, batch_id)
    assert (status.state, status.total, status.completed, status.failed) == (BatchState.SUCCEEDED, 5, 5, 0)
    found = results(batches, status)
    assert set(found) == set(keys)
    describer = OpenAIDescriber(settings, MemoryCache(), UnlimitedLimiter())
    for number, key in enumerate(keys):
        bought, single = found[key], describer.describe(noise(number), never)
        assert isinstance(bought, Answer)
        assert describer.key(noise(number)) == key
        assert bought.description == single.description
        assert bought.usage.cost == pytest.approx(single.usage.cost / 2)
    describer.close()


def test_line_is_the_request_of_a_single_description(
    server: LMMTestServer, settings: LMMServer, batches: OpenAIBatches
) -> None:
    line = batches.request(noise(1))
    request = json.loads(line.data)
    assert line.data.endswith(b"}\n")
    assert line.data.count(b"\n") == 1
    assert (request["custom_id"], request["method"], request["url"]) == (line.key, "POST", "/v1/chat/completions")
    assert request["body"]["response_format"]["type"] == "json_schema"
    assert line.cost == pytest.approx(((line.tokens - 500) * 2.0 + 500 * 8.0) / 2e6)


def test_each_failed_request_has_its_own_error(server: LMMTestServer, batches: OpenAIBatches) -> None:
    fates = {"1": "400", "2": "429", "3": "500", "4": "broken", "5": "refused", "6": "expired", "7": "missing"}
    server.play(batch={"lines": fates})
    keys, batch_id = submit(batches, 9)
    status = finished(batches, batch_id)
    assert (status.completed, status.failed) == (4, 4)
    found = results(batches, status)
    kinds = [type(found[key]) if key in found else None for key in keys]
    assert kinds == [
        Answer,
        RequestNotTaken,
        DescriberUnavailable,
        DescriberUnavailable,
        DescriptionUnusable,
        DescriptionRefused,
        DescriberUnavailable,
        None,
        Answer,
    ]


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ({"end": "failed"}, BatchState.FAILED),
        ({"end": "expired", "lines": {"1": "expired"}}, BatchState.EXPIRED),
        ({"end": "cancelled", "lines": {"1": "missing"}}, BatchState.CANCELLED),
    ],
)
def test_batch_that_ends_early_gives_what_there_is(
    server: LMMTestServer, batches: OpenAIBatches, script: dict[str, Any], state: BatchState
) -> None:
    server.play(batch=script)
    keys, batch_id = submit(batches, 2)
    status = finished(batches, batch_id)
    assert status.state is state
    answered = [key for key, result in results(batches, status).items() if isinstance(result, Answer)]
    assert answered == ([] if state is BatchState.FAILED else keys[:1])
    assert status.message == ("line 1 is no request" if state is BatchState.FAILED else "")


def test_batch_that_was_made_unheard_is_found_and_not_made_again(server: LMMTestServer, batches: OpenAIBatches) -> None:
    server.play(batch={"reset_after_create": True})
    file_id = batches.upload([batches.request(noise(1)).data], never)
    batch_id = batches.create(file_id, never)
    assert batches.create(file_id, never) == batch_id
    assert len(server.state.batches) == 1


def test_two_files_make_two_batches(server: LMMTestServer, batches: OpenAIBatches) -> None:
    ids = {submit(batches, 1)[1], submit(batches, 1)[1]}
    assert len(ids) == len(server.state.batches) == 2


def test_cancelled_batch_and_discarded_files_are_gone(server: LMMTestServer, batches: OpenAIBatches) -> None:
    server.play(batch={"polls": 100})
    _, batch_id = submit(batches, 1)
    batches.cancel(batch_id, never)
    assert batches.poll(batch_id, never).state is BatchState.CANCELLED
    assert len(server.state.files) == 1
    batches.discard([*server.state.files, "file-gone"], never)
    assert server.state.files == {}


def test_requests_that_fit_obeys_both_limits() -> None:
    assert requests_that_fit([]) == 0
    assert requests_that_fit([1_000] * 60_000) == 50_000
    assert requests_that_fit([60_000_000] * 5) == 3
    assert requests_that_fit([200_000_000, 1]) == 1
    assert requests_that_fit([200_000_001]) == 0


def test_more_lines_than_fit_are_not_uploaded(server: LMMTestServer, batches: OpenAIBatches) -> None:
    with pytest.raises(ValueError, match="one batch"):
        batches.upload([b"{}\n"] * 50_001, never)
    with pytest.raises(DescriptionUnusable, match="without lines"):
        batches.upload([], never)
    assert server.state.files == {}


def test_large_file_is_uploaded_whole(server: LMMTestServer, batches: OpenAIBatches) -> None:
    line = b'{"pad": "' + b"x" * 999_990 + b'"}\n'
    file_id = batches.upload([line] * 8, never)
    assert server.state.files[file_id] == line * 8


def test_results_of_a_hostile_server_are_read_without_trust(server: LMMTestServer, batches: OpenAIBatches) -> None:
    good = json.dumps({"custom_id": "a" * 64, "response": {"status_code": 200, "body": {"choices": []}}})
    lines = ["", "[" * 100_000, "7", "{}", '{"custom_id": ["b"]}', '{"custom_id": "../../etc"}', "x" * 3_000_000]
    lines += [json.dumps({"custom_id": "c" * 64, "response": {"status_code": "200"}}), good, "\x00\xff"]
    server.state.files["file-odd"] = "\n".join(lines).encode("latin-1")
    found = results(batches, BatchStatus("batch_1", BatchState.SUCCEEDED, output_file_id="file-odd"))
    assert {key[0]: type(result) for key, result in found.items()} == {
        "a": DescriptionUnusable,
        "c": DescriberUnavailable,
    }


def test_server_without_a_batch_api_is_told_apart() -> None:
    with LMMTestServer() as server:
        other = OpenAIBatches(LMMServer(base_url=f"{server.address}/nothing"))
        with pytest.raises(DescriberMisconfigured, match="404"):
            other.upload([b"{}\n"], never)
        other.close()


def test_stopping_ends_an_upload(batches: OpenAIBatches, server: LMMTestServer) -> None:
    with pytest.raises(Cancelled):
        batches.upload([b"x" * 1_000_000 + b"\n"] * 50, lambda: True)
