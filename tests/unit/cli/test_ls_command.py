"""`misc ls`: what it asks the server for, and what it prints."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.commands import ls

IMAGE = {
    "id": "img_1", "state": "ready", "width": 768, "height": 512, "bpp": 0.048, "bitstream_bytes": 2360,
    "name": "ara.png",
}  # fmt: skip


class _Client:
    """Answers every question with one image, and remembers the filters."""

    def __init__(self) -> None:
        self.filters: dict[str, str | None] = {}
        self.batch = {
            "id": "bat_" + "0" * 26, "name": "holiday", "created_at": "2026-11-30T10:00:00Z", "progress": 0.5,
            "counts": {"queued": 1, "succeeded": 1, "failed": 0},
        }  # fmt: skip

    def images(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        self.filters = filters
        yield IMAGE

    def batches(self, name: str | None = None) -> Iterator[dict[str, Any]]:
        if name in (None, "holiday"):
            yield self.batch


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> _Client:
    client = _Client()
    monkeypatch.setattr(ls, "connected", lambda server, key: contextlib.nullcontext(client))
    return client


def test_words_and_filters_go_to_the_server_together(client: _Client) -> None:
    app = typer.Typer()
    ls.register(app)
    result = CliRunner().invoke(app, ["--search", "red parrot", "--state", "ready"])

    assert result.exit_code == 0, result.output
    assert client.filters == {"state": "ready", "batch_id": None, "q": "red parrot"}
    assert "ara.png" in result.output and "0.0480 bpp" in result.output


def test_batches_are_listed_and_images_found_by_the_name_of_theirs(client: _Client) -> None:
    app = typer.Typer()
    ls.register(app)
    listed = CliRunner().invoke(app, ["--batches"])
    assert listed.exit_code == 0 and "50%" in listed.output and "holiday: 1 queued, 1 succeeded" in listed.output
    for words in (["--batch", "holiday"], ["--batch", client.batch["id"]]):
        assert CliRunner().invoke(app, words).exit_code == 0
        assert client.filters["batch_id"] == client.batch["id"]
    assert CliRunner().invoke(app, ["--batches", "--state", "ready"]).exit_code == 2
