"""What the log and the figures say of an attempt that ended, whatever its end was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from codec.errors import Cancelled, OptionError
from codec.usage import Usage
from codec.weights.store import WeightsStore
from core.broker import MAINTENANCE
from core.database import Database
from core.errors import StorageUnavailable
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.jobs.lease import LeaseKeeper
from core.settings import DatabaseSettings, WorkerSettings
from migrations.upgrade import upgrade
from models.job import JobKind
from tests.unit.workers.silent import Silent
from workers.context import Record, WorkContext
from workers.runner import Runner
from workers.services import WorkerServices

UNUSED: Any = None
Work = Callable[[WorkContext], Record | None]


class Bench:
    """A runner whose handler is the test's."""

    def __init__(self, database: Database, folder: Path) -> None:
        silent: Any = Silent()
        settings = WorkerSettings()
        self.services = WorkerServices(settings, database, UNUSED, silent, silent, WeightsStore(folder), UNUSED)
        self.database, self.work = database, UNUSED
        handlers: Any = self
        self.runner = Runner("encode@host:1", handlers, self.services, LeaseKeeper(database, settings.lease))

    def of(self, _kind: str) -> Work:
        return self.work

    def run(self, work: Work, **spec: Any) -> dict[str, Any]:
        """Have a job done in this way; returns what `job_done` says."""
        self.work = work
        with self.database.write() as session:
            transitions.create(session, JobSpec(JobKind.PROBE, MAINTENANCE, request_id="req-1", **spec))
        with capture_logs() as lines:
            self.runner.run(MAINTENANCE)
        [line] = [line for line in lines if line["event"] == "job_done"]
        return line

    @property
    def figures(self) -> str:
        return generate_latest(self.services.metrics.registry).decode()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    database = Database(settings)
    yield Bench(database, tmp_path)
    database.close()


def raising(error: Exception) -> Work:
    def _work(_context: WorkContext) -> None:
        raise error

    return _work


def test_success_is_logged_with_the_seconds_of_its_stages_and_its_bytes(bench: Bench) -> None:
    def _work(context: WorkContext) -> Record:
        context.sizes = {"in": 5000, "out": 300}
        context.usage = Usage("small", 900, 120, 0.004, 1.5)
        return lambda _session: {"describe": 1.25, "pack": 0.01}

    line = bench.run(_work)
    assert (line["outcome"], line["code"], line["attempt"]) == ("succeeded", None, 1)
    assert (line["kind"], line["worker"]) == ("probe", "encode@host:1")
    assert (line["bytes_in"], line["bytes_out"]) == (5000, 300)
    assert {"describe", "pack", "job"} == set(line["seconds"])
    assert line["seconds"]["describe"] == 1.25
    figures = bench.figures
    assert 'misc_attempts_total{code="",kind="probe",outcome="succeeded"} 1.0' in figures
    assert 'misc_stage_seconds_sum{kind="probe",stage="describe"} 1.25' in figures
    assert 'misc_job_bytes_total{direction="out",kind="probe"} 300.0' in figures
    assert 'misc_model_tokens_total{direction="input",model="small"} 900.0' in figures
    assert 'misc_model_cost_total{model="small"} 0.004' in figures


def test_answer_that_was_bought_before_costs_nothing(bench: Bench) -> None:
    def _work(context: WorkContext) -> None:
        context.usage = Usage("small", 900, 120, 0.004, 1.5, cached=True)

    bench.run(_work)
    assert "misc_model_cost_total{" not in bench.figures


@pytest.mark.parametrize(
    ("error", "max_attempts", "outcome", "code"),
    [
        (OptionError("no such mode"), 3, "failed", "option_invalid"),
        (RuntimeError("a defect"), 3, "retried", "internal_error"),
        (RuntimeError("a defect"), 1, "failed", "internal_error"),
        (StorageUnavailable("away"), 1, "paused", "storage_unavailable"),
    ],
)
def test_failure_is_logged_with_its_code_and_what_became_of_the_job(
    bench: Bench, error: Exception, max_attempts: int, outcome: str, code: str
) -> None:
    line = bench.run(raising(error), max_attempts=max_attempts)
    assert (line["outcome"], line["code"], line["bytes_out"]) == (outcome, code, None)
    assert set(line["seconds"]) == {"job"}
    assert f'misc_attempts_total{{code="{code}",kind="probe",outcome="{outcome}"}} 1.0' in bench.figures


def test_job_that_was_taken_back_is_told_apart_from_one_that_was_cancelled(bench: Bench) -> None:
    def _work(context: WorkContext) -> None:
        with bench.database.write() as session:
            transitions.cancel(session, context.claim.job_id)
        assert context.check_cancelled()
        raise Cancelled("stopped")

    assert bench.run(_work)["outcome"] == "cancelled"

    def _work_in_vain(context: WorkContext) -> None:
        with bench.database.write() as session:
            transitions.requeue(session, context.claim, count_attempt=False)

    assert bench.run(_work_in_vain)["outcome"] == "lost"
