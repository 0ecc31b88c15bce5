"""The ring of unit tests starts no processes: what needs one is in `tests/integration` or `tests/e2e`."""

import multiprocessing.process
import os
import subprocess
from pathlib import Path, PurePath
from typing import Any

import pytest

from core.settings import DatabaseSettings
from migrations.upgrade import upgrade

_OF_LIBRARIES = {"uname", "lscpu", "ldconfig", "gcc", "cc"}
"""Programs by which libraries look, once, at the machine that they run on."""


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen.__init__

    def _start_of_libraries(process: Any, args: Any, *others: Any, **named: Any) -> None:
        program = args if isinstance(args, str | os.PathLike) else args[0]
        if PurePath(os.fsdecode(program)).name not in _OF_LIBRARIES:
            pytest.fail(f"A unit test started a program: {args}")
        start(process, args, *others, **named)

    def _refuse(process: Any) -> None:
        pytest.fail(f"A unit test started a process: {process}")

    monkeypatch.setattr(subprocess.Popen, "__init__", _start_of_libraries)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", _refuse)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that Alembic made once; tests work on copies."""
    path = tmp_path_factory.mktemp("migrated") / "misc.db"
    upgrade(DatabaseSettings(url=f"sqlite:///{path}"))
    return path
