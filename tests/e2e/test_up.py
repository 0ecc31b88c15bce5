"""`misc up` as a person uses it: ready soon, one service a folder, and nothing left however it ends."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment

READY_SECONDS, STOP_SECONDS = 20.0, 10.0

pytestmark = pytest.mark.timeout(240)


class _Up:
    """A running `misc up`, from the moment it was started."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        self.data = data
        self.log = data.with_suffix(".stderr")
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up", "--data", str(data), *options],
                env=isolated_environment(os.environ) | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> str:
        """The address that it says."""
        _wait_for(lambda: "ready after" in self.said or self.process.poll() is not None, 120)
        found = re.search(r"http://[0-9.:]+", self.said)
        assert found is not None, self.said
        return found.group()

    @property
    def said(self) -> str:
        return self.log.read_text()

    def family(self) -> list[psutil.Process]:
        """All processes below it; those that were started in a session of their own too."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> float:
        """Send a signal; returns the seconds until the process had ended."""
        sent = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        return time.monotonic() - sent


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., _Up]]:
    started: list[_Up] = []

    def _start(*options: str, folder: str = "data", **environment: str) -> _Up:
        started.append(_Up(tmp_path / folder, *options, **environment))
        return started[-1]

    yield _start
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait()


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.05)


def _still_there(family: list[psutil.Process]) -> list[str]:
    left = []
    for process in family:
        # A dead child that nobody has waited for yet holds nothing.
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline()))
    return left


def test_ready_within_twenty_seconds_and_ctrl_c_leaves_nothing(start: Callable[..., _Up]) -> None:
    up = start("--port", "0")
    address = up.wait_ready()
    ready_seconds = time.monotonic() - up.started
    family = up.family()
    assert len(family) >= 5  # the guard, Redis, the API, two workers
    assert httpx.get(f"{address}/readyz").status_code == 200

    stop_seconds = up.end(signal.SIGINT)

    assert up.process.returncode == 0, up.said
    assert _still_there(family) == []
    assert ready_seconds <= READY_SECONDS
    assert stop_seconds <= STOP_SECONDS
    # A unix socket that is left would make the next start talk to nobody.
    assert not (up.data / "run" / "redis.sock").exists()


def test_picture_comes_back_painted_by_the_networks_that_come_with_the_program(start: Callable[..., _Up]) -> None:
    up = start("--port", "0", MISC_WORKER_WARM_UP="first")
    with httpx.Client(base_url=up.wait_ready(), timeout=30) as client:
        log = [json.loads(line) for line in (up.data / "logs" / "decode-1.log").read_text().splitlines()]
        events = [line["event"] for line in log]
        assert events.index("warming_up") < events.index("warmed_up") < events.index("worker_ready")
        taken = client.post("/v1/images", files={"file": ("a.png", _picture(), "image/png")}).json()
        _wait_for(lambda: client.get(f"/v1/jobs/{taken['job']['id']}").json()["finished_at"] is not None, 60)
        image = client.get(f"/v1/images/{taken['image']['id']}").json()
        assert (image["state"], image["options"]["mode"], image["mode"]) == ("ready", "ref", "ref")

        ordered = client.post(f"/v1/images/{image['id']}/reconstructions").json()
        _wait_for(lambda: client.get(f"/v1/jobs/{ordered['job']['id']}").json()["finished_at"] is not None, 60)
        row = client.get(f"/v1/reconstructions/{ordered['reconstruction']['id']}").json()
        assert (row["state"], row["restorer"], row["options"]["profile"]) == ("ready", "gan", "lite")
        painted = client.get(row["links"]["content"]).content
        again = client.post(f"/v1/images/{image['id']}/reconstructions")
        assert (again.status_code, again.json()["reconstruction"]["id"]) == (200, row["id"]), "by the same networks"
    with Image.open(io.BytesIO(painted)) as picture:
        assert picture.size == (160, 120)
    assert b"trainedAlgorithmicMedia" in painted and b"profile lite" in painted
    assert f"stage1 {row['weights']['stage1']}".encode() in painted
    up.end(signal.SIGINT)


def _picture() -> bytes:
    """A small picture of soft colours, as PNG."""
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ways_to_say_stop_leave_nothing(start: Callable[..., _Up], number: signal.Signals) -> None:
    up = start("--port", "0")
    up.wait_ready()
    family = up.family()

    assert up.end(number) <= STOP_SECONDS

    assert up.process.returncode == 0
    assert _still_there(family) == []


def test_ctrl_c_during_the_start_leaves_nothing(start: Callable[..., _Up]) -> None:
    up = start("--port", "0")
    _wait_for(lambda: len(up.family()) >= 4, 30)
    family = up.family()

    assert up.end(signal.SIGINT) <= STOP_SECONDS

    assert _still_there(family) == []


def test_killed_service_leaves_nothing_and_its_archive_goes_on(start: Callable[..., _Up]) -> None:
    up = start("--port", "0")
    address = up.wait_ready()
    httpx.post(f"{address}/v1/batches", json={"name": "kept"}).raise_for_status()
    family = up.family()

    up.end(signal.SIGKILL)

    _wait_for(lambda: _still_there(family) == [], STOP_SECONDS)
    again = start("--port", "0")
    address = again.wait_ready()
    jobs = httpx.get(f"{address}/v1/jobs").json()["items"]
    # Three probes of each start went through the one archive.
    assert [job["state"] for job in jobs] == ["succeeded"] * 6
    again.end(signal.SIGINT)


def test_second_service_on_the_same_folder_is_refused(start: Callable[..., _Up]) -> None:
    first = start("--port", "0")
    first.wait_ready()

    second = start("--port", "0")
    second.process.wait(timeout=30)

    assert second.process.returncode == 1
    # The two share a log file, whose end is the second one's.
    assert f"in use by another running service (process {first.process.pid})" in second.said
    assert first.process.poll() is None
    first.end(signal.SIGINT)


def test_busy_port_is_told_before_anything_starts(start: Callable[..., _Up]) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]

        up = start("--port", str(port))
        up.process.wait(timeout=30)

    assert up.process.returncode == 1
    assert f"Port {port}" in up.said
    assert "--port" in up.said


def test_data_folder_with_a_very_long_path(start: Callable[..., _Up], tmp_path: Path) -> None:
    up = start("--port", "0", folder="a" * 120)

    address = up.wait_ready()

    assert httpx.get(f"{address}/readyz").status_code == 200
    assert up.end(signal.SIGINT) <= STOP_SECONDS


def test_child_that_cannot_start_is_shown_with_its_last_words(start: Callable[..., _Up]) -> None:
    # Nothing but opening the store finds out that a device cannot hold a folder.
    up = start("--port", "0", MISC_STORAGE_PATH="/dev/null/objects")

    up.process.wait(timeout=60)

    assert up.process.returncode == 1
    assert "cannot run here" in up.said
    assert "/dev/null/objects" in up.said.partition("The end of")[2]


def test_setting_that_cannot_be_used_is_told_before_anything_starts(start: Callable[..., _Up]) -> None:
    up = start("--port", "0", MISC_WORKER_LEASE="soon")

    up.process.wait(timeout=30)

    assert up.process.returncode == 1
    assert "MISC_WORKER_LEASE" in up.said
    assert not (up.data / "logs").exists()


def test_doctor_finds_every_queue_of_a_running_service_served(start: Callable[..., _Up]) -> None:
    up = start("--port", "0")
    address = up.wait_ready()

    answer = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor", "--server", address, "--json"],
        env=isolated_environment(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )

    report = json.loads(answer.stdout)
    states = {check["name"]: check["ok"] for check in report["checks"]}
    assert answer.returncode == 0, answer.stderr
    assert report["ok"] is True
    assert [states[f"queue {name}"] for name in ("encode", "decode", "maintenance")] == [True] * 3
    up.end(signal.SIGINT)
