"""When and where a picture was taken, and its file's date: kept with the image where the upload asks for it."""

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from cli.commands import pull, push
from cli.main import build_app
from cli.server.client import Client
from misc_archive import Client as PythonClient
from tests.unit.api.samples import stream, submit

TAKEN = {"taken_at": "2026-11-29T12:34:56+01:00", "latitude": -33.86, "longitude": 151.2, "altitude_m": 58.5}
NOTHING = dict.fromkeys(TAKEN)
CHANGED, CHANGED_SECONDS = "2023-11-14T22:13:20Z", 1_700_000_000


def photo() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({36867: "2026:11:29 12:34:56", 36881: "+01:00"})
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 36.0), 3: "E", 4: (151.0, 12.0, 0.0), 5: 0, 6: 58.5})
    file = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(file, "JPEG", exif=exif)
    return file.getvalue()


class _Inside(Client):
    """A client of the application in this process."""

    def __init__(self, application: TestClient) -> None:
        super().__init__("http://127.0.0.1:9")
        self._http = application

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def misc(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command against the application."""

    @contextmanager
    def connected(*_: object) -> Iterator[Client]:
        yield _Inside(client)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(push, "connected", connected)
    monkeypatch.setattr(pull, "connected", connected)
    return lambda *words: CliRunner().invoke(build_app(), [str(word) for word in words])


def metadata_of(client: TestClient) -> list[Any]:
    return [image["metadata"] for image in client.get("/v1/images").json()["items"]]


def test_upload_keeps_them_where_asked_and_only_there(client: TestClient) -> None:
    image = submit(client, photo(), keep_metadata=True, modified_at="2023-11-14T23:13:20+01:00")["image"]
    shown = client.get(f"/v1/images/{image['id']}").json()
    assert shown["metadata"] == TAKEN | {"modified_at": "2023-11-14T23:13:20+01:00"}
    assert submit(client, photo())["image"]["metadata"] is None
    assert submit(client, photo(), modified_at=CHANGED)["image"]["metadata"] is None
    assert submit(client, keep_metadata=True)["image"]["metadata"] == NOTHING | {"modified_at": None}


def test_date_without_a_zone_is_refused_and_so_is_one_for_many(client: TestClient) -> None:
    for date in ("2023-11-14T22:13:20", "yesterday"):
        options = {"keep_metadata": True, "modified_at": date}
        answer = client.post("/v1/images", files={"file": ("a.jpg", photo())}, data={"options": json.dumps(options)})
        assert (answer.status_code, answer.json()["code"]) == (422, "option_invalid"), answer.text
    options = {"keep_metadata": True, "modified_at": CHANGED}
    files = [("files", (name, photo())) for name in ("a.jpg", "b.jpg")]
    answer = client.post("/v1/batches", files=files, data={"options": json.dumps(options)})
    assert answer.status_code == 400 and "one file" in answer.text
    del options["modified_at"]
    assert client.post("/v1/batches", files=files, data={"options": json.dumps(options)}).status_code == 202
    assert metadata_of(client) == [TAKEN | {"modified_at": None}] * 2


def test_push_sends_the_date_and_a_touched_file_is_not_sent_again(
    client: TestClient, misc: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "trip" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(photo())
    os.utime(path, (CHANGED_SECONDS, CHANGED_SECONDS))
    for _ in range(2):
        for inputs in (path, path.parent):
            result = misc("push", inputs, "--keep-metadata", "--no-wait", "--json")
            assert result.exit_code == 0, result.stderr
        os.utime(path, (CHANGED_SECONDS + 9, CHANGED_SECONDS + 9))
    printed = result.stdout[result.stdout.index("{\n") :]  # behind what the application logs in this process
    assert json.loads(printed)["results"][0]["skipped"] is True
    assert metadata_of(client) == [TAKEN | {"modified_at": "2023-11-14T22:13:20Z"}] * 2


def test_python_client_sends_the_date_of_a_file_and_of_nothing_else(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(photo())
    os.utime(path, (CHANGED_SECONDS, CHANGED_SECONDS))
    python = PythonClient("http://127.0.0.1:9")
    python._http = _Inside(client)
    monkeypatch.setattr(python._http, "wait_for_success", lambda *_, **__: None)
    assert python.upload(path, keep_metadata=True).document["metadata"]["modified_at"] == CHANGED
    assert python.upload(photo(), keep_metadata=True).document["metadata"] == TAKEN | {"modified_at": None}
    assert python.upload(path).document["metadata"] is None


def test_push_sends_how_soon_pictures_are_wanted_alone_and_in_a_batch(
    client: TestClient, misc: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "trip" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(photo())
    soon = ("--priority", "bulk", "--deadline", "2030-01-01T08:00:00Z", "--no-wait")
    for inputs in (path, path.parent):
        assert misc("push", inputs, *soon).exit_code == 0
    jobs = client.get("/v1/jobs").json()["items"]
    assert [(job["priority"], job["deadline"]) for job in jobs] == [("bulk", "2030-01-01T08:00:00Z")] * 2
    wrong = misc("push", path, "--deadline", "tomorrow")
    assert wrong.exit_code == 2 and "--deadline takes" in wrong.stderr


def test_python_client_sends_a_deadline_as_a_moment(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = PythonClient("http://127.0.0.1:9")
    python._http = _Inside(client)
    monkeypatch.setattr(python._http, "wait_for_success", lambda *_, **__: None)
    image = python.upload(photo(), deadline=datetime(2030, 1, 1, 9, tzinfo=timezone(timedelta(hours=1))))
    assert client.get(f"/v1/images/{image.id}").json()["job"]["deadline"] == "2030-01-01T08:00:00Z"


def test_pull_writes_what_was_kept_beside_the_file(
    client: TestClient, misc: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = submit(client, photo(), "boat.jpg", keep_metadata=True, modified_at=CHANGED)["image"]["id"]
    plain = submit(client, photo(), "boat.jpg")["image"]["id"]
    monkeypatch.setattr(Client, "download", lambda _self, _path, target: len(str(target)))
    (tmp_path / "back").mkdir()
    result = misc("pull", kept, plain, "--bitstream", "--keep-metadata", "-o", tmp_path / "back")
    assert result.exit_code == 0, result.stderr
    (written,) = (tmp_path / "back").glob("*.json")
    assert written.name == f"boat-{kept[-8:]}.meta.json"
    assert json.loads(written.read_text()) == {"file": "boat.jpg", "modified_at": CHANGED} | TAKEN
    assert misc("pull", kept, "--keep-metadata", "-o", "-").exit_code == 2


def test_stream_brings_what_was_kept_beside_it_and_again_later(client: TestClient) -> None:
    def send(metadata: dict[str, Any] | None) -> Any:
        said = {} if metadata is None else {"metadata": json.dumps(metadata)}
        return client.post("/v1/bitstreams", files={"file": ("a.misc", stream())}, data=said)

    assert send(None).json()["image"]["metadata"] is None
    later = send({"file": "a.jpg", "modified_at": CHANGED, **TAKEN})
    assert (later.status_code, later.json()["image"]["metadata"]) == (200, {"modified_at": CHANGED, **TAKEN})
    for wrong in ({"latitude": 91.0}, {"taken_at": "yesterday"}, {"latitude": "48"}, {"place": "here"}):
        refused = send(wrong)
        assert (refused.status_code, next(iter(wrong)) in refused.text) == (422, True), refused.text
