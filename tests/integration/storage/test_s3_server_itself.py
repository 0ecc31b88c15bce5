"""The tests' own S3 server: what happens where it cannot be installed, and that it outlives nobody."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.s3_server import fixture, install

ROOT = Path(__file__).parents[3]


def refuse() -> None:
    raise install.InstallFailed("no index")


def test_without_the_server_tests_are_skipped_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(fixture, "S3Server", refuse)
    with pytest.raises(pytest.skip.Exception, match="no index"):
        fixture._start()


def test_without_the_server_tests_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(fixture, "S3Server", refuse)
    with pytest.raises(pytest.fail.Exception, match="has to be there in CI"):
        fixture._start()


def test_index_that_cannot_be_reached_is_told_and_leaves_nothing_that_looks_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "ENVIRONMENT", tmp_path / "environment")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(install.InstallFailed, match="pip"):
        install.ensure_installed()
    assert not (tmp_path / "environment" / "installed.sha256").exists()


def test_server_ends_when_the_process_that_started_it_is_killed() -> None:
    script = (
        "import sys, time\n"
        "from tests.s3_server.process import S3Server\n"
        "server = S3Server()\n"
        "print(server._process.pid, server._folder, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    try:
        pid, folder = starter.stdout.readline().split()
    finally:
        starter.kill()
        starter.wait()
        starter.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()
