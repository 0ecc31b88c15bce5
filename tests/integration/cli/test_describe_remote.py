"""`misc encode --describe openai` against a server that plays a model's."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from cli.local import describe_remote
from codec.bitstream import unpack
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.errors import Cancelled
from codec.language_model import LMMServer
from codec.picture.open import open_picture
from core.database import Database
from core.describing import llm_batches
from core.describing.rate_limit import LocalRateLimiter
from core.settings import DatabaseSettings
from tests.lmm_server.server import LMMTestServer
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
OPTIONS = ("--describe", "openai", "--maps", "off", "--mode", "pixel", "--blocks", "8", "--jobs", "1", "--json")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LMMTestServer]:
    with LMMTestServer() as running:
        monkeypatch.setenv("MISC_LMM_BASE_URL", running.base_url)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(3):
        write_photo(folder / f"{number}.png", 60 + number)
    return folder


def test_each_picture_is_asked_about_once_and_for_ever(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path
) -> None:
    first = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS)
    assert first.exit_code == 0, first.stderr
    results = json.loads(first.stdout)["results"]
    assert {entry["describer"] for entry in results} == {"openai"}
    assert all(entry["usage"]["output_tokens"] > 0 and not entry["usage"]["cached"] for entry in results)
    texts = {unpack(Path(entry["output"]).read_bytes()).stream.texts.overall for entry in results}
    assert len(texts) == 3 and "" not in texts
    assert len(server.asked()) == 3

    misc("encode", photos, "-o", tmp_path / "out", *OPTIONS)
    again = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS, "--force")
    assert all(entry["usage"]["cached"] for entry in json.loads(again.stdout)["results"])
    assert len(server.asked()) == 3


def test_refusal_is_told_beside_the_file_that_was_made_without_the_model(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path
) -> None:
    server.play(then="refusal")
    result = misc("encode", photos / "0.png", "-o", tmp_path / "a.misc", *OPTIONS, "--fallback", "local")
    (entry,) = json.loads(result.stdout)["results"]
    assert (result.exit_code, entry["describer"], entry["error"]) == (0, "local", None)
    assert "refused" in entry["notes"][0] and "refused" in result.stderr


@pytest.mark.parametrize(("status", "code"), [(401, "describer_misconfigured"), (503, "describer_unavailable")])
def test_model_that_gives_nothing_spoils_no_folder(
    misc: Misc,
    server: LMMTestServer,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
) -> None:
    monkeypatch.setenv("MISC_LMM_ATTEMPTS", "1")
    server.play(then={"play": "status", "status": status})
    call = ("encode", photos, "-o", tmp_path / "out", *OPTIONS)
    failed = misc(*call)
    assert failed.exit_code == 1
    assert [entry["error"]["code"] for entry in json.loads(failed.stdout)["results"]] == [code] * 3
    assert not list((tmp_path / "out").glob("*.misc"))

    asked_for = misc(*call, "--fallback", "local")
    assert asked_for.exit_code == 0 and "3 were not described by the model" in asked_for.stderr
    assert {entry["describer"] for entry in json.loads(asked_for.stdout)["results"]} == {"local"}
    # Without the model they are what was asked for, and with it they are not.
    local = json.loads(misc(*call[:4], *OPTIONS[2:]).stdout)["results"]
    assert [entry["skipped"] for entry in local] == [True] * 3

    server.play()
    described = json.loads(misc(*call).stdout)["results"]
    assert [(entry["skipped"], entry["describer"]) for entry in described] == [(False, "openai")] * 3
    assert [entry["skipped"] for entry in json.loads(misc(*call).stdout)["results"]] == [True] * 3


def test_fallback_is_what_the_setting_says_where_it_is_set(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_LMM_FALLBACK", "none")
    server.play(then="refusal")
    call = ("encode", photos / "0.png", "-o", tmp_path / "a.misc")
    (entry,) = json.loads(misc(*call, *OPTIONS).stdout)["results"]
    assert (entry["describer"], entry["error"]) == ("none", None)
    assert misc(*call, *OPTIONS, "--fallback", "fail").exit_code == 1
    assert misc(*call, *OPTIONS, "--fallback", "later").exit_code == 2
    assert misc(*call, "--fallback", "local").exit_code == 2


def test_picture_that_cannot_be_opened_costs_nothing(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    result = misc("encode", photos / "bad.png", photos / "0.png", "-o", tmp_path / "out", *OPTIONS)
    errors = [entry["error"] for entry in json.loads(result.stdout)["results"]]
    assert result.exit_code == 1
    assert errors[0]["code"] == "picture_unrecognised" and errors[1] is None
    assert len(server.asked()) == 1


def test_without_a_model_the_command_says_what_to_set(misc: Misc, photos: Path, tmp_path: Path) -> None:
    result = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS)
    assert result.exit_code == 2
    assert "MISC_LMM_API_KEY" in result.stderr


def test_batch_is_bought_at_half_the_price_and_what_it_leaves_is_asked_directly(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_LMM_PRICE_OUTPUT", "10")
    monkeypatch.setenv("MISC_LMM_BATCH_POLL", "0.1")
    server.play(batch={"polls": 2, "lines": {"1": "refused"}})
    result = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS, "--batch")
    assert result.exit_code == 0, result.stderr
    results = json.loads(result.stdout)["results"]
    assert [entry["describer"] for entry in results] == ["openai"] * 3
    prices = sorted(entry["usage"]["cost"] / entry["usage"]["output_tokens"] * 1e6 for entry in results)
    assert prices == pytest.approx([5.0, 5.0, 10.0])
    assert (len(server.state.batches), len(server.asked())) == (1, 1)
    with _database(tmp_path) as database:
        assert llm_batches.is_idle(database)
    # The pictures that were uploaded, and what the provider wrote, do not stay there.
    assert server.state.files == {}


def test_batch_that_was_left_is_gone_on_with_and_not_bought_again(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_LMM_BATCH_POLL", "0.1")
    monkeypatch.setattr(describe_remote, "_wait", _pressed_ctrl_c)
    server.play(batch={"polls": 1})
    left = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS, "--batch")
    assert left.exit_code != 0
    with _database(tmp_path) as database:
        (batch,) = llm_batches.open_batches(database)
        assert len(llm_batches.items_of(database, batch.id)) == 3 and batch.batch_id

    monkeypatch.undo()
    monkeypatch.setenv("MISC_LMM_BASE_URL", server.base_url)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("MISC_LMM_BATCH_POLL", "0.1")
    result = misc("encode", photos, "-o", tmp_path / "out", *OPTIONS, "--batch")
    assert {entry["describer"] for entry in json.loads(result.stdout)["results"]} == {"openai"}
    assert (len(server.state.batches), len(server.asked())) == (1, 0)


def _pressed_ctrl_c(_seconds: float) -> None:
    raise KeyboardInterrupt


@contextmanager
def _database(tmp_path: Path) -> Iterator[Database]:
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'user' / 'misc-archive' / 'descriptions.db'}"))
    yield database
    database.close()


def test_local_pace_keeps_to_its_limits() -> None:
    pace = LocalRateLimiter(2, 1000, None)
    started = time.monotonic()
    for tokens in (900, 100):
        pace.wait(tokens, 0.0, lambda: False)
    with pytest.raises(Cancelled):
        pace.wait(1, 0.0, lambda: time.monotonic() - started > 0.5)
    by_tokens = LocalRateLimiter(0, 1000, None)
    by_tokens.wait(900, 0.0, lambda: False).settle(1000, 0.0)
    with pytest.raises(Cancelled):
        by_tokens.wait(1, 0.0, lambda: True)


def test_answers_and_batches_of_an_earlier_version_are_gone_on_with(
    misc: Misc, server: LMMTestServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_LMM_BATCH_POLL", "0.1")
    server.play(batch={"polls": 0})
    folder = tmp_path / "user" / "misc"
    misc("encode", photos / "0.png", "-o", tmp_path / "out" / "", *OPTIONS)
    # As earlier versions left it: the database in the folder `misc`, what is under way in a file beside it.
    (tmp_path / "user" / "misc-archive").rename(folder)
    batches = OpenAIBatches(LMMServer(base_url=server.base_url))
    requests = [batches.request(open_picture(photos / f"{number}.png")) for number in (1, 2)]
    file_id = batches.upload([request.data for request in requests], lambda: False)
    note = {"file_id": file_id, "batch_id": "", "keys": [request.key for request in requests], "reserved": None}
    (folder / "batches.json").write_text(json.dumps([note]))
    batches.close()

    result = misc("encode", photos, "-o", tmp_path / "out2", *OPTIONS, "--batch")
    assert result.exit_code == 0, result.stderr
    assert {entry["describer"] for entry in json.loads(result.stdout)["results"]} == {"openai"}
    assert (len(server.state.batches), len(server.asked())) == (1, 1)
    assert not list(folder.iterdir())
