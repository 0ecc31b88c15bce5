"""`misc push` of a folder against the interface in this process: resumed after anything, each picture once."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.services import Services
from cli.commands.push import _push_group
from cli.main import build_app
from cli.server.client import Client, ClientError, Upload
from cli.server.group import Group, GroupName
from cli.server.push_history import PushHistory
from cli.server.upload import Outcome, Picture
from codec.errors import OptionError
from misc_archive import Client as PythonClient
from models import Image, ImageState, Job, JobState
from tests.unit.api.samples import picture

NAME = GroupName("trip", "mark")


class _Inside(Client):
    """A client of the application in this process; after `fails_after` uploads the server is away."""

    def __init__(self, application: TestClient) -> None:
        super().__init__("http://127.0.0.1:9")
        self._http = application
        self.sent: list[str] = []
        self.fails_after: int | None = None

    def __exit__(self, *_: object) -> None:
        pass

    def submit_picture(self, upload: Upload, options: Any) -> dict[str, Any]:
        if self.fails_after is not None and len(self.sent) >= self.fails_after:
            raise ClientError("server_unreachable", "It is away.")
        self.sent.append(upload.name)
        return super().submit_picture(upload, options)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    names = ["a.png", "may/a.png", "may/b.png", "may/late/c.png"]
    for number, name in enumerate(names):
        path = tmp_path / "trip" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return [Picture(tmp_path / "trip" / name, name, {"mode": "pixel"}) for name in names]


def _push(client: _Inside, history: Path, pictures: list[Picture]) -> tuple[list[Outcome], dict[str, Any]]:
    """Push with what this machine remembers, without waiting."""
    client.sent.clear()
    group = Group.open(client, PushHistory(history), NAME, is_shared=True)
    return _push_group(client, group, pictures, 2, {}, wait=False)


def _end(services: Services, image_id: str | None, state: JobState) -> None:
    with services.database.write() as session:
        image = session.get(Image, image_id)
        job = session.query(Job).filter(Job.image_id == image_id).one()
        assert image is not None
        job.state, job.error_code = state, None if state is JobState.SUCCEEDED else "worker_lost"
        image.state = ImageState.READY if state is JobState.SUCCEEDED else ImageState.FAILED


def test_push_that_broke_off_goes_on_with_what_is_missing(
    client: TestClient, pictures: list[Picture], tmp_path: Path
) -> None:
    server = _Inside(client)
    server.fails_after = 2
    outcomes, report = _push(server, tmp_path / "h", pictures)
    assert [outcome.error is None for outcome in outcomes].count(True) == 2
    assert (report["batch"]["total"], report["missing"]) == (2, 0)
    server.fails_after = None
    outcomes, report = _push(server, tmp_path / "h", pictures)
    assert len(server.sent) == 2 and sorted(outcome.skipped for outcome in outcomes) == [False, False, True, True]
    assert (report["batch"]["total"], report["batch"]["expected"]) == (4, 4)
    # From another machine, which remembers nothing, by the name of the batch.
    outcomes, report = _push(server, tmp_path / "elsewhere", pictures)
    assert server.sent == [] and all(outcome.skipped for outcome in outcomes)
    lines = [json.loads(line) for line in client.get(report["batch"]["links"]["manifest"]).text.splitlines()]
    assert sorted(line["name"] for line in lines) == sorted(one.name for one in pictures)
    assert all(line["options"] == {"mode": "pixel"} for line in lines)


def test_picture_that_failed_is_sent_again_and_in_the_batch_once(
    client: TestClient, services: Services, pictures: list[Picture], tmp_path: Path
) -> None:
    server = _Inside(client)
    first, _ = _push(server, tmp_path / "h", pictures)
    for outcome, state in zip(first, (JobState.FAILED, *(JobState.SUCCEEDED,) * 3), strict=True):
        _end(services, outcome.image, state)
    again, report = _push(server, tmp_path / "h", pictures)
    assert server.sent == ["a.png"] and again[0].image != first[0].image
    assert (report["batch"]["total"], report["batch"]["expected"], report["failures"]) == (4, 4, [])
    _end(services, again[0].image, JobState.SUCCEEDED)
    assert client.get(f"/v1/batches/{report['batch']['id']}").json()["is_done"] is True


def test_other_options_and_changed_pictures_are_sent(
    client: TestClient, pictures: list[Picture], tmp_path: Path
) -> None:
    server = _Inside(client)
    _push(server, tmp_path / "h", pictures[:2])
    changed = [Picture(pictures[0].path, "a.png", {"mode": "pixel", "level": 2}), pictures[1]]
    changed[1].path.write_bytes(picture(9))
    outcomes, report = _push(server, tmp_path / "h", changed)
    assert sorted(server.sent) == ["a.png", "may/a.png"] and not any(outcome.skipped for outcome in outcomes)
    assert report["batch"]["total"] == 4


def test_picture_that_cannot_be_taken_is_in_the_report_and_tried_again(
    client: TestClient, pictures: list[Picture], tmp_path: Path
) -> None:
    server = _Inside(client)
    whole = pictures[0].path.read_bytes()
    pictures[0].path.write_bytes(whole[:60])
    outcomes, report = _push(server, tmp_path / "h", pictures[:2])
    assert outcomes[0].error is not None and outcomes[0].error["code"] == "picture_truncated"
    assert report["failures"] == [{"code": "picture_truncated", "count": 1, "names": ["a.png"]}]
    assert (report["batch"]["total"], report["batch"]["expected"]) == (1, 2)
    pictures[0].path.write_bytes(whole)
    _, report = _push(server, tmp_path / "h", pictures[:2])
    assert (report["batch"]["total"], report["batch"]["expected"], report["failures"]) == (2, 2, [])


def test_command_sends_a_folder_follows_it_and_reports(
    client: TestClient, services: Services, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.server.client.httpx.Client", lambda **_: client)
    monkeypatch.setattr("cli.server.push_history.default_path", lambda: tmp_path / "history")
    monkeypatch.setattr(client, "close", lambda: None)
    command = ["push", str(tmp_path / "trip"), "--mode", "pixel", "--json"]

    def _run(*more: str) -> dict[str, Any]:
        done = CliRunner().invoke(build_app(), [*command, *more])
        assert done.exit_code == 0, done.output
        # The application writes its log into the same place.
        document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
        return document

    first = _run("--no-wait")
    assert [result["state"] for result in first["results"]] == ["pending"] * 4
    assert (first["report"]["batch"]["name"], first["report"]["images"]["pending"]) == ("trip", 4)
    for result in first["results"]:
        _end(services, result["image"], JobState.SUCCEEDED)
    second = _run("--manifest-out", str(tmp_path / "m.jsonl"))
    assert all(result["skipped"] and result["state"] == "ready" for result in second["results"])
    assert [result["image"] for result in second["results"]] == [result["image"] for result in first["results"]]
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert {line["image_id"] for line in lines} == {result["image"] for result in first["results"]}
    third = _run("--manifest-in", str(tmp_path / "m.jsonl"))
    assert all(result["skipped"] for result in third["results"]) and third["report"]["batch"]["total"] == 4


def test_python_client_pushes_a_folder_and_then_what_is_missing(
    client: TestClient, services: Services, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Ending(_Inside):
        """Of a service that encodes at once."""

        def submit_picture(self, upload: Upload, options: Any) -> dict[str, Any]:
            answer = super().submit_picture(upload, options)
            _end(services, answer["image"]["id"], JobState.SUCCEEDED)
            return answer

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server, told = _Ending(client), []
    python = PythonClient("http://127.0.0.1:9")
    monkeypatch.setattr(python, "_http", server)
    first = python.push(tmp_path / "trip", mode="pixel", on_progress=told.append)
    assert set(first.images) == {one.name for one in pictures} and first.errors == {}
    assert sorted(server.sent) == sorted(first.images) and told[-1]["is_done"]
    assert first.report["images"]["ready"] == 4

    server.sent.clear()
    (tmp_path / "trip" / "broken.png").write_bytes(b"no picture")
    second = python.push(tmp_path / "trip", mode="pixel")
    assert (second.id, second.images, server.sent) == (first.id, first.images, ["broken.png"])
    assert set(second.errors) == {"broken.png"} and second.report["failures"]
    with pytest.raises(OptionError):
        python.push(tmp_path / "trip", level=99)
