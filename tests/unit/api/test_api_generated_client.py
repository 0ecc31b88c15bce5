"""A client that a generator makes from the document uploads pictures and streams, and downloads what it sent."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.database import Database
from core.owners import keys
from core.owners.keys import NewKey
from core.owners.scope import Scope
from tests.unit.api.samples import picture, stream

_NAME = "misc_generated_client"


@pytest.fixture
def generated(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the package that openapi-python-client makes of the document; a warning is a failure."""
    try:
        from openapi_python_client import MetaType, generate
        from openapi_python_client.config import Config, ConfigFile
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("openapi-python-client is not installed")
    document = tmp_path / "openapi.json"
    document.write_text(client.get("/openapi.json").text)
    config = Config.from_sources(
        ConfigFile(post_hooks=[]), MetaType.NONE, document, "utf-8", overwrite=False, output_path=tmp_path / _NAME
    )
    assert list(generate(config=config)) == []
    monkeypatch.syspath_prepend(tmp_path)
    yield _NAME
    for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
        del sys.modules[name]


def test_generated_client_uploads_and_downloads(client: TestClient, database: Database, generated: str) -> None:
    def _part(name: str) -> Any:
        return importlib.import_module(f"{generated}{name}")

    root, models, types = _part(""), _part(".models"), _part(".types")
    images, bitstreams, batches, jobs = (_part(f".api.{tag}") for tag in ("images", "bitstreams", "batches", "jobs"))
    calls = {
        name: importlib.import_module(f"{package.__name__}.{name}")
        for package, names in (
            (images, ("submit_image", "get_image", "fetch_original", "fetch_bitstream", "delete_image")),
            (bitstreams, ("import_bitstream",)),
            (batches, ("submit_batch",)),
            (jobs, ("get_job",)),
        )
        for name in names
    }
    with database.write() as session:
        key = keys.create(session, NewKey("robot", "robot", frozenset({Scope.READ, Scope.SUBMIT})))[1]
    client.headers["Authorization"] = f"Bearer {key}"
    robot = root.AuthenticatedClient(base_url="http://localhost", token=key).set_httpx_client(client)

    data = picture(3)
    sent = calls["submit_image"].sync(
        client=robot,
        body=models.SubmitImageBody(
            file=types.File(payload=data, file_name="boat.png"),
            options=models.SubmitImageBodySubmitOptions.from_dict({"keep_original": True, "mode": "pixel"}),
        ),
        idempotency_key="one",
    )
    assert (sent.image.name, sent.image.owner, sent.image.keep_original) == ("boat.png", "robot", True)
    assert calls["get_job"].sync(sent.job.id, client=robot).state == "queued"
    assert calls["fetch_original"].sync(sent.image.id, client=robot).payload.read() == data

    taken = calls["import_bitstream"].sync(
        client=robot, body=types.File(payload=stream(), file_name="harbour.misc"), name="harbour.misc"
    )
    assert taken.image.name == "harbour.misc"
    assert calls["fetch_bitstream"].sync(taken.image.id, client=robot).payload.read() == stream()

    files = [types.File(payload=picture(number), file_name=f"{number}.png") for number in (4, 5)]
    batch = calls["submit_batch"].sync(client=robot, body=models.SubmitBatchFilesBody(files=files, name="spring"))
    assert (batch.total, [member.name for member in batch.images]) == (2, ["4.png", "5.png"])

    calls["delete_image"].sync_detailed(sent.image.id, client=robot)
    gone = calls["get_image"].sync_detailed(sent.image.id, client=robot)
    assert (gone.status_code, json.loads(gone.content)["code"]) == (404, "not_found")
