"""Fifty odd ways of model servers: what each ends as, how many requests it takes, and what is charged."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.encode.describe.lmm import retry
from codec.encode.describe.lmm.client import NOT_ENGLISH, OpenAIDescriber
from codec.errors import DescriberError
from codec.language_model import Answer, LMMServer
from tests.lmm_server.limiter import RecordingLimiter
from tests.lmm_server.memory import MemoryCache
from tests.lmm_server.quirks import QUIRKS, Quirk, table
from tests.lmm_server.server import LMMTestServer

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (36, 48, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_SECONDS", 0.01)


def ask(server: LMMTestServer, **changes: Any) -> tuple[Answer | DescriberError, RecordingLimiter]:
    limiter = RecordingLimiter()
    values: dict[str, Any] = {"base_url": server.base_url, "attempts": 3, "price_input": 2.0, "price_output": 8.0}
    describer = OpenAIDescriber(LMMServer(**(values | changes)), MemoryCache(), limiter)
    try:
        return describer.describe(PICTURE, lambda: False), limiter
    except DescriberError as error:
        return error, limiter
    finally:
        describer.close()


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_quirk_ends_as_the_table_says(quirk: Quirk) -> None:
    with LMMTestServer(kind=quirk.kind) as server:
        server.play(*quirk.steps, then=quirk.then)
        ended, limiter = ask(server, **quirk.changes)
        assert len(server.asked()) == quirk.requests
    if isinstance(ended, Answer):
        assert quirk.ends == ("note" if ended.notes else "description")
        assert ended.notes in ((), (NOT_ENGLISH,))
        assert len(ended.description.overall.split()) >= 10
    else:
        assert ended.code == quirk.ends, ended
    assert len(limiter.closed) == len(limiter.reserved) == quirk.requests
    charged = [entry for entry in limiter.closed if entry is not None]
    if quirk.charged == "no":
        assert charged == []
        assert not isinstance(ended, Answer) and ended.usage is None
    elif quirk.charged == "as reserved":
        assert charged == limiter.reserved
    else:
        assert len(charged) == (2 if "both" in quirk.charged else 1)
        assert charged[-1] != limiter.reserved[-1]
        # What was paid is told, also where the answers were of no use.
        assert ended.usage is not None
        assert ended.usage.cost == pytest.approx(sum(cost for _, cost in charged))


def test_there_are_fifty_of_them_and_the_documents_have_them_all() -> None:
    assert len({quirk.name for quirk in QUIRKS}) == len(QUIRKS) >= 50
    page = (Path(__file__).parents[3] / "docs" / "describer-model.md").read_text()
    found = re.search(r"\| the server's way \|.*?\n\n", page, re.DOTALL)
    assert found is not None, "run `python -m tests.lmm_server.quirks`"
    assert found[0].strip() == table().strip()


def test_azure_address_keeps_its_query_and_gets_the_key_in_its_own_header() -> None:
    with LMMTestServer() as server:
        ended, _ = ask(server, base_url=f"{server.base_url}?api-version=2026-01-01", api_key="secret-key")
        assert isinstance(ended, Answer), ended
        [asked] = [entry for entry in server.state.log if entry["path"].startswith("/v1/chat/completions")]
        assert asked["path"] == "/v1/chat/completions?api-version=2026-01-01"
        assert asked["authorization"] is None
        assert asked["api_key"] == "secret-key"


def test_address_of_the_call_itself_is_taken_too() -> None:
    with LMMTestServer() as server:
        ended, _ = ask(server, base_url=f"{server.base_url}/chat/completions")
        assert isinstance(ended, Answer)


@pytest.mark.parametrize(
    ("address", "word"),
    [("http://127.0.0.1:1/v1", "refused"), ("http://no-such-host.invalid/v1", "no such host")],
)
def test_reason_for_no_connection_is_told(address: str, word: str) -> None:
    with LMMTestServer() as server:
        ended, limiter = ask(server, base_url=address, attempts=1)
    assert isinstance(ended, DescriberError)
    assert word in str(ended)
    assert limiter.closed == [None]


def test_plain_server_behind_https_is_told_as_tls() -> None:
    with LMMTestServer() as server:
        ended, _ = ask(server, base_url=server.base_url.replace("http:", "https:"), attempts=1)
    assert isinstance(ended, DescriberError)
    assert "TLS" in str(ended)


def test_small_cap_is_not_used_up_by_free_refusals() -> None:
    with LMMTestServer() as server:
        refusal = {"play": "raw", "body": '{"error": {"code": 429, "message": "busy"}}'}
        server.play(refusal, refusal, refusal, refusal)
        ended, limiter = ask(server, attempts=5)
    assert isinstance(ended, Answer)
    assert limiter.closed[:4] == [None] * 4


def test_any_failure_of_the_line_is_one_of_the_describer(monkeypatch: pytest.MonkeyPatch) -> None:
    from codec.encode.describe.lmm import client

    async def fail(*_: object) -> tuple[bytes, float]:
        raise UnicodeError("label too long")

    monkeypatch.setattr(client, "_post", fail)
    with LMMTestServer() as server:
        ended, _ = ask(server, attempts=1)
    assert isinstance(ended, DescriberError)
    assert ended.code == "describer_unavailable"
    assert "label too long" in str(ended)
