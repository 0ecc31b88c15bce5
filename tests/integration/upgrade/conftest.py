"""An archive that an earlier version left behind, unpacked and two hours old, and ways to migrate and to run it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import DateTime, Engine, MetaData, create_engine, select, update

from models.base import utc_now
from tests.integration.conftest import new_postgres_database

_ARCHIVES = Path(__file__).parents[2] / "upgrade" / "data"

AGE = timedelta(hours=2)
"""Longer than every lease and every wait for another attempt, shorter than the patience with a Batch API."""


@dataclass
class OldArchive:
    """The folder and the database of a service that was killed, and what its API said just before."""

    folder: Path
    url: str

    @cached_property
    def answers(self) -> dict[str, Any]:
        """See `tests/upgrade/answers.py`; times are those of the database."""
        answers: dict[str, Any] = json.loads((self.folder / "answers.json").read_text())
        return answers

    @cached_property
    def ids(self) -> dict[str, str]:
        """Images and batches by what they are there for."""
        ids: dict[str, str] = json.loads((self.folder / "ids.json").read_text())
        return ids

    @cached_property
    def model(self) -> dict[str, Any]:
        """Files and batches that the language model's server has."""
        model: dict[str, Any] = json.loads((self.folder / "model.json").read_text())
        return model

    @property
    def objects(self) -> list[Path]:
        """Every file in storage but records, which that version did not write."""
        return [path for path in self._files() if "records" not in path.parts]

    @property
    def records(self) -> list[Path]:
        """The records of images in storage."""
        return [path for path in self._files() if "records" in path.parts]

    @property
    def environment(self) -> dict[str, str]:
        """For processes that work on this archive, and on no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
        return kept | {
            "MISC_DATABASE_URL": self.url,
            "MISC_STORAGE_PATH": str(self.folder / "data" / "objects"),
            "MISC_WEIGHTS_PATH": str(self.folder / "weights"),
            "MISC_WORKER_RECONCILE_INTERVAL": "1",
            # Threads of several processes that wait for each other on few cores take ten times as long as one.
            "OMP_NUM_THREADS": "1",
        }

    def _files(self) -> list[Path]:
        return [path for path in (self.folder / "data" / "objects").rglob("*") if path.is_file()]

    @contextlib.contextmanager
    def engine(self) -> Iterator[Engine]:
        """The database, past every class of ours."""
        engine = create_engine(self.url)
        yield engine
        engine.dispose()

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, the columns in the order of their names."""
        with self.engine() as engine, engine.connect() as connection:
            tables = MetaData()
            tables.reflect(engine)
            return {
                name: sorted(
                    map(tuple, connection.execute(select(*sorted(table.c, key=lambda column: column.name)))), key=repr
                )
                for name, table in tables.tables.items()
            }

    def grow_older(self, by: timedelta) -> None:
        """Move every moment in the database into the past, as if nobody had touched it for so long."""
        with self.engine() as engine, engine.begin() as connection:
            tables = MetaData()
            tables.reflect(connection)
            for table in tables.sorted_tables:
                moments = [column for column in table.c if isinstance(column.type, DateTime)]
                if not moments:
                    continue
                for row in connection.execute(select(table)).mappings().all():
                    own = [column == row[column.name] for column in table.primary_key]
                    values = {column.name: row[column.name] - by for column in moments if row[column.name] is not None}
                    if values:
                        connection.execute(update(table).where(*own).values(values))

    def migrate(self) -> None:
        """Bring the database up to date as an operator does."""
        subprocess.run([sys.executable, "-m", "migrations"], env=self.environment, check=True, timeout=60)

    def fetch_networks(self) -> None:
        """Bring the learned codec of its streams, which came with that version, as an operator does."""
        command = [sys.executable, "-m", "cli.main", "weights", "pull", "lite-coarse-1"]
        subprocess.run(command, env=self.environment, check=True, timeout=60)

    @contextlib.contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """The API alone: no Redis, no workers, so nothing changes but by requests."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        nobody = {"MISC_API_PORT": port, "MISC_BROKER_URL": f"redis+socket://{self.folder}/nobody.sock"}
        with (
            _running([sys.executable, "-m", "api"], self.environment | nobody, self.folder / "api.log") as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            wait_for(lambda: process.poll() is not None or _is_up(client), 60, "the API answers")
            assert process.poll() is None, (self.folder / "api.log").read_text()
            yield client

    @contextlib.contextmanager
    def service(self, settings: Mapping[str, str]) -> Iterator[httpx.Client]:
        """The whole service, with workers."""
        log = self.folder / "up.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cli.main", "up", "--port", "0", "--data", str(self.folder / "data")]
        with _running(command, self.environment | settings, log) as process:
            wait_for(lambda: process.poll() is not None or "ready after" in log.read_text(), 120, "the service is up")
            address = re.search(r"http://[0-9.:]+", log.read_text())
            assert process.poll() is None and address is not None, log.read_text()
            with httpx.Client(base_url=address.group(), timeout=30) as client:
                yield client


@pytest.fixture(params=["sqlite", "postgresql"])
def old_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldArchive]:
    """The archive of commit a3fcfc8, left two hours ago."""
    with tarfile.open(_ARCHIVES / f"a3fcfc8-{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/data/misc.db"
        else:
            url = stack.enter_context(new_postgres_database(request.getfixturevalue("postgres_url")))
            _load(url, (tmp_path / "database.sql").read_text())
        archive = OldArchive(tmp_path, url)
        left_at = max(datetime.fromisoformat(row["created_at"]) for row in archive.answers["jobs"])
        by = left_at - (utc_now() - AGE)
        archive.grow_older(by)
        _shift(archive.answers, by)
        yield archive


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def _shift(answer: Any, by: timedelta) -> None:
    """The same for answers as for rows."""
    for name, value in answer.items() if isinstance(answer, dict) else enumerate(answer):
        if isinstance(value, dict | list):
            _shift(value, by)
        elif isinstance(name, str) and name.endswith("_at") and value is not None:
            answer[name] = (datetime.fromisoformat(value) - by).isoformat().replace("+00:00", "Z")


def _load(url: str, dump: str) -> None:
    # What begins with a backslash is for psql.
    statements = "\n".join(line for line in dump.splitlines() if not line.startswith("\\"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statements)
    # The dump has set this connection up for itself.
    engine.dispose()


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
