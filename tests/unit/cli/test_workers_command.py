"""`misc workers`: what it lists, and what it asks of the server."""

import contextlib
import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.commands import workers


class _Client:
    """Has one worker; remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def workers(self) -> list[dict[str, Any]]:
        return [self._worker("wrk_1", "alive")]

    def drain(self, worker_id: str, *, is_wanted: bool) -> dict[str, Any]:
        self.asked.append((worker_id, is_wanted))
        return self._worker(worker_id, "draining" if is_wanted else "alive")

    def _worker(self, worker_id: str, state: str) -> dict[str, Any]:
        return {"id": worker_id, "state": state, "queues": ["encode", "maintenance"], "running": 2, "threads": 32,
                "name": "encode@host:1", "version": "0.1.0"}  # fmt: skip


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[_Client, str]:
    client = _Client()
    monkeypatch.setattr(workers, "connected", lambda server, key: contextlib.nullcontext(client))
    app = typer.Typer()
    workers.register(app)
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return client, result.stdout


def test_workers_are_listed_with_their_state_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    client, shown = _run(monkeypatch)
    assert shown.split() == ["wrk_1", "alive", "encode,maintenance", "2/32", "encode@host:1", "0.1.0"]
    assert client.asked == []


def test_drain_and_resume_ask_for_the_workers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client, shown = _run(monkeypatch, "--drain", "wrk_1", "--resume", "wrk_2", "--json")
    assert client.asked == [("wrk_1", True), ("wrk_2", False)]
    assert [worker["state"] for worker in json.loads(shown)["workers"]] == ["draining", "alive"]
