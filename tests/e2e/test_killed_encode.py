"""A command that is killed leaves nothing running, and one that is interrupted stops soon and says how to go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from codec.bitstream import unpack

INTERRUPTED_WITHIN_SECONDS = 3.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`misc encode` of a folder, in the middle of its work."""
    for number in range(12):
        Image.effect_noise((768, 512), 60 + number).convert("RGB").save(tmp_path / f"{number}.jpg")
    command = [sys.executable, "-m", "cli.main", "encode", str(tmp_path), "-o", str(tmp_path / "out"), "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield running
    running.kill()
    running.communicate()


def _children(running: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(running.pid).children(recursive=True)
    assert len(children) >= 2 and running.poll() is None, "it is in the middle of its work"
    return children


def test_processes_of_a_killed_encode_end_with_it(running: "subprocess.Popen[str]") -> None:
    children = _children(running)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_interrupted_encode_stops_within_seconds_and_goes_on_afterwards(
    running: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    children = _children(running)
    began = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    _, words = running.communicate(timeout=60)
    assert time.monotonic() - began < INTERRUPTED_WITHIN_SECONDS
    assert running.returncode == 130 and "the same call goes on from there" in words, words
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    streams = list((tmp_path / "out").glob("*.misc"))
    assert len(streams) < 12 and all(unpack(path.read_bytes()).stream.width == 768 for path in streams)
