"""One command of ours in one environment: how it ended, what it said, and for how long it said nothing."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

from tests.log_lines import told

_PYTHON = sys.executable
_CHECKOUT = Path(__file__).parents[2]

COMMANDS: dict[str, tuple[str, ...]] = {
    "up": ("-m", "cli.main", "up", "--port", "0"),
    "push": ("-m", "cli.main", "push", "pictures", "--mode", "pixel", "--describe", "none", "--json"),
    "encode": (
        *("-m", "cli.main", "encode", "pictures", "-o", "streams", "--mode", "pixel"),
        *("--describe", "none", "--jobs", "1", "--json"),
    ),
    "doctor": ("-m", "cli.main", "doctor"),
    "migrations": ("-m", "migrations"),
    "api": ("-m", "api"),
    "workers": ("-m", "workers", "maintenance"),
}

_SERVES = ("up", "api", "workers")
"""What runs until it is told to end."""

_READY = re.compile(r"ready after|worker_ready")
_GIVEN_UP_SECONDS = 150.0


@dataclass
class Ended:
    """What became of a cell. `status` of what runs until it is stopped is that of its end by SIGTERM; `served` says
    whether it had become ready before."""

    status: int
    output: str
    silent_seconds: float
    served: bool = False
    ready: str = ""

    @property
    def told(self) -> list[str]:
        """What it said but for that it starts, works or waits."""
        return told(self.output)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def add_pictures(folder: Path) -> None:
    """Two small pictures below `folder`."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        Image.linear_gradient("L").convert("RGB").resize((64 + 8 * number, 48)).save(pictures / name)


def run_cell(
    command: str,
    folder: Path,
    environment: Mapping[str, str],
    *,
    before: Sequence[str] = (),
    root_path: str = "",
    served_word: str = "",
) -> Ended:
    """Run a command in `folder` until it ends, or is ready (or has said `served_word`) and told to end; `before` are
    words that start it."""
    variables = dict(environment)
    port = free_port()
    if command == "api":
        # Where the port is what the environment gets wrong, it stays.
        variables.setdefault("MISC_API_PORT", str(port))
    ready = re.compile(re.escape(served_word)) if served_word else _READY
    began = time.monotonic()
    process = subprocess.Popen(
        [*before, _PYTHON, *COMMANDS[command]],
        env=variables | {"PYTHONPATH": str(_CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    ended = Ended(0, "", 0.0)
    data, last = b"", began
    address = f"http://127.0.0.1:{_port_of(variables, port)}{root_path}"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() - began < _GIVEN_UP_SECONDS:
            if selector.select(0.2):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                ended.silent_seconds = max(ended.silent_seconds, time.monotonic() - last)
                data, last = data + piece, time.monotonic()
            elif not ended.served:
                ended.silent_seconds = max(ended.silent_seconds, time.monotonic() - last)
            if command in _SERVES and not ended.served:
                if command == "api":
                    ended.ready = _readiness(address)
                    ended.served = ended.ready != ""
                else:
                    ended.served = ready.search(data.decode(errors="replace")) is not None
                if ended.served:
                    process.send_signal(signal.SIGTERM)
                    last = time.monotonic()
    try:
        ended.status = process.wait(15)
    except subprocess.TimeoutExpired:
        ended.status = 124
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    ended.output = data.decode(errors="replace")
    return ended


def _port_of(variables: Mapping[str, str], port: int) -> int:
    given = variables.get("MISC_API_PORT", "")
    return int(given) if given.isdigit() else 8000


def _readiness(address: str) -> str:
    """What /readyz says, once anything answers."""
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            return f"{client.get(f'{address}/healthz').status_code} {client.get(f'{address}/readyz').text}"
    except httpx.TransportError:
        return ""
