"""Our processes as a user that no file of the system knows and that has no home, as containers often run them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.log_lines import told

_UID = 12345
_SET_USER = [
    "setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups",
    # Read access alone, since Python may lie in the home of whoever runs the tests; nothing becomes writable by it.
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    "env", "-u", "HOME", "-u", "XDG_DATA_HOME", "-u", "XDG_STATE_HOME", "-u", "XDG_CACHE_HOME",
]  # fmt: skip
_CHECKOUT = Path(__file__).parents[3]


def _environment(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
    database = f"sqlite:///{folder}/data/misc.db"
    data = {"MISC_DATABASE_URL": database, "MISC_STORAGE_PATH": str(folder / "objects")}
    return clean | data | {"PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*_SET_USER, sys.executable, *words]
    environment = _environment(folder) | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, cwd=folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of that user, outside of those that only the tests' user may enter."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, by setpriv")
    path = Path(tempfile.mkdtemp(prefix="misc-unknown-user-"))
    (path / "data").mkdir()
    for each in (path, path / "data"):
        os.chown(each, _UID, _UID)
    try:
        tried = run(path, "-c", "import pwd, os, codec; pwd.getpwuid(os.getuid())")
        if "KeyError" not in tried.stderr:
            pytest.skip(f"this Python does not run as an unknown user: {tried.stderr.strip()[-200:]}")
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def test_picture_is_encoded_and_decoded(folder: Path) -> None:
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save(folder / "a.png")
    encoded = run(folder, "-m", "cli.main", "encode", "a.png", "-o", "a.misc", "--mode", "pixel", "--describe", "none")
    assert (encoded.returncode, "Traceback" in encoded.stderr) == (0, False), encoded.stderr
    decoded = run(folder, "-m", "cli.main", "decode", "a.misc", "-o", "back.png", "--restorer", "smooth")
    assert decoded.returncode == 0, decoded.stderr
    assert Image.open(folder / "back.png").size == (64, 48)


@pytest.mark.timeout(600)
def test_doctor_looks_at_everything(folder: Path) -> None:
    looked = run(folder, "-m", "cli.main", "doctor")
    assert (looked.returncode, "Traceback" in looked.stdout + looked.stderr) == (0, False), looked.stdout
    assert str(folder / "objects") in looked.stdout
    assert "ok       database" in looked.stdout and "ok       storage" in looked.stdout, looked.stdout


def test_tables_are_made_where_they_may_be_and_the_place_is_named_where_not(folder: Path) -> None:
    made = run(folder, "-m", "migrations")
    assert made.returncode == 0, made.stderr
    assert (folder / "data" / "misc.db").is_file()
    refused = run(folder, "-m", "migrations", MISC_DATABASE_URL="sqlite:////proc/none/misc.db")
    output = refused.stdout + refused.stderr
    assert (refused.returncode, "Traceback" in output) == (1, False), output
    assert "/proc/none" in output and len(told(output)) <= 3, output


def test_interface_serves_and_ends(folder: Path) -> None:
    assert run(folder, "-m", "migrations").returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = _environment(folder) | {"MISC_API_PORT": str(port)}
    process = subprocess.Popen(
        [*_SET_USER, sys.executable, "-m", "api"], env=environment, cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert _is_healthy(f"http://127.0.0.1:{port}/healthz", process)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        # The server ends in good order, and then as the signal has it.
        assert process.returncode in (0, -signal.SIGTERM)
        assert "shutdown complete" in told and "Traceback" not in told
    finally:
        process.kill()
        process.communicate()


def _is_healthy(address: str, process: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(address, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
    return False
