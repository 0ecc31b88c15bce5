"""Each process of ours in environments that it cannot work in: one or two sentences, the right status, no traceback."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.log_lines import told

_CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
_COMMANDS = {
    "migrations": [sys.executable, "-m", "migrations"],
    "api": [sys.executable, "-m", "api"],
    "worker": [sys.executable, "-m", "workers", "maintenance"],
    "up": [sys.executable, "-m", "cli.main", "up", "--port", "0"],
}
_STATUS = {"migrations": 1, "api": 2, "worker": 1, "up": 1}


def run(name: str, data: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = _CLEAN | {"MISC_DATA": str(data / "data"), "MISC_STORAGE_PATH": str(data / "objects")} | variables
    return subprocess.run(_COMMANDS[name], env=environment, capture_output=True, text=True, timeout=60, cwd=Path.cwd())


@pytest.mark.parametrize(
    ("command", "variable", "value", "word"),
    [
        (command, variable, value, word)
        for variable, value, word, commands in (
            ("MISC_DATABASE_URL", "mysql://u:hidden@h/d", "postgresql://", ("migrations", "api", "worker", "up")),
            ("MISC_DATABASE_URL", "postgresql://u:hidden@h:x/d", "%40", ("migrations", "api", "worker", "up")),
            ("MISC_DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/d", "did not answer", ("migrations", "up")),
            ("MISC_BROKER_URL", "redis://:hidden@h?max_connections=2", "max_connections", ("api", "worker", "up")),
            ("MISC_BROKER_URL", "rediss://:hidden@h?ssl_ca_certs=/none", "/none", ("api", "worker", "up")),
            ("MISC_BROKER_URL", "redis://:hidden@127.0.0.1:1/0", "did not answer", ("up",)),
            ("MISC_TEMP_PATH", "/proc/none", "MISC_TEMP_PATH", ("api", "worker")),
            ("MISC_API_PORT", "http", "MISC_API_PORT", ("api",)),
            ("MISC_API_HOST", "0.0.0.0", "key", ("api",)),
            ("MISC_STORAGE_PATH", "/proc/none", "/proc/none", ("api", "worker")),
            ("MISC_STORAGE_ENDPOINT_URL", "store:9000", "store:9000", ("api", "worker", "up")),
            ("MISC_STORAGE_ENDPOINT_URL", "http://127.0.0.1:1", "cannot be reached", ("up",)),
        )
        for command in commands
    ],
)
def test_environment_that_cannot_work_is_told_in_a_sentence(
    tmp_path: Path, command: str, variable: str, value: str, word: str
) -> None:
    store = {"MISC_STORAGE_BACKEND": "s3"} if variable == "MISC_STORAGE_ENDPOINT_URL" else {}
    keys = {"MISC_STORAGE_ACCESS_KEY": "a", "MISC_STORAGE_SECRET_KEY": "hidden"} if store else {}
    ended = run(command, tmp_path, **{variable: value}, **store, **keys)
    output = ended.stdout + ended.stderr
    assert ended.returncode == _STATUS[command], output
    assert word in output
    assert "Traceback" not in output
    assert "hidden" not in output
    assert len(told(output)) <= 3, output


def test_worker_does_not_start_on_tables_of_another_version(tmp_path: Path) -> None:
    ended = run("worker", tmp_path, MISC_DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    assert (ended.returncode, "run `python -m migrations`" in ended.stderr) == (1, True), ended.stderr
    assert "Traceback" not in ended.stderr


def test_one_machine_starts_under_proxies_injected_addresses_and_odd_names(tmp_path: Path) -> None:
    """`misc up` whose folder is no plain address, where a proxy that nobody answers is for everything."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:9")
    others = {"MISC_API_PORT": "tcp://10.0.0.1:8000", "MISC_BROKER_URL": "", "CELERY_BROKER_URL": "redis://127.0.0.1:9"}
    folder = tmp_path / "what? #1 %41"
    environment = _CLEAN | proxies | others | {"MISC_DATA": str(folder)}
    process = subprocess.Popen(
        [*_COMMANDS["up"]], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        began = last = time.monotonic()
        for line in process.stderr:
            lines.append(line)
            # Whatever it waits for, it is not silent for long.
            assert time.monotonic() - last < 15
            last = time.monotonic()
            if "ready after" in line or last - began > 300:
                break
        assert "ready after" in lines[-1], lines
        assert (folder / "misc.db").is_file()
        address = re.search(r"at (http://\S+) ", lines[-1])
        assert address is not None
        told = subprocess.run(
            [sys.executable, "-m", "cli.main", "ls", "--server", address[1]],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()
