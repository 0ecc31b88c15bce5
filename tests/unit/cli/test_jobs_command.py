"""`misc jobs`: what it asks the server for, and what it retries."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from cli.commands import jobs


def _job(job_id: str, state: str = "queued") -> dict[str, Any]:
    return {
        "id": job_id, "kind": "encode", "state": state, "progress": 0.0, "queue_position": 0, "stage": None,
        "error": None, "image_id": "img_1", "reconstruction_id": None,
    }  # fmt: skip


class _Client:
    """Has five failed jobs, of which one cannot be retried."""

    def __init__(self) -> None:
        self.filters: dict[str, str | None] = {}
        self.retried: list[str] = []

    def jobs(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        self.filters = filters
        yield from (_job(f"job_{number}", "failed") for number in range(5))

    def job(self, job_id: str) -> dict[str, Any]:
        return _job(job_id)

    def retry(self, job_id: str) -> dict[str, Any]:
        self.retried.append(job_id)
        return _job(job_id)

    def retry_failed(self, code: str) -> Iterator[dict[str, Any]]:
        self.retried.append(code)
        yield {"retried": ["job_0", "job_1"], "refused": [{"id": "job_2", "detail": "The original is gone."}]}
        yield {"retried": ["job_3", "job_4"], "refused": []}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> _Client:
    client = _Client()
    monkeypatch.setattr(jobs, "connected", lambda server, key: contextlib.nullcontext(client))
    return client


def _run(*words: str) -> Result:
    app = typer.Typer()
    jobs.register(app)
    return CliRunner().invoke(app, list(words))


def test_jobs_are_listed_by_code_up_to_the_limit(client: _Client) -> None:
    result = _run("--code", "worker_lost", "--limit", "3", "--json")
    assert [job["id"] for job in json.loads(result.stdout)["jobs"]] == ["job_0", "job_1", "job_2"]
    assert client.filters == {"state": None, "code": "worker_lost"}


def test_named_jobs_are_retried(client: _Client) -> None:
    result = _run("retry", "job_7", "job_8")
    assert (result.exit_code, client.retried) == (0, ["job_7", "job_8"])
    assert result.output.count("queued") == 2


def test_all_jobs_that_failed_with_a_code_are_retried_and_those_that_cannot_be_are_named(client: _Client) -> None:
    result = _run("retry", "--code", "storage_unavailable")
    assert (result.exit_code, client.retried) == (1, ["storage_unavailable"])
    assert result.output.count("queued") == 4
    assert "job_2  not retried: The original is gone." in result.output


def test_retry_of_nothing_is_wrong_usage(client: _Client) -> None:
    assert (_run("retry").exit_code, client.retried) == (2, [])
