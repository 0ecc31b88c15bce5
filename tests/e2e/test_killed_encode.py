"""A command that is killed leaves nothing running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from PIL import Image


def test_processes_of_a_killed_encode_end_with_it(tmp_path: Path) -> None:
    for number in range(12):
        Image.effect_noise((768, 512), 60 + number).convert("RGB").save(tmp_path / f"{number}.jpg")
    command = [sys.executable, "-m", "cli.main", "encode", str(tmp_path), "-o", str(tmp_path / "out"), "--jobs", "2"]
    running = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(running.pid).children(recursive=True)
    assert len(children) >= 2 and running.poll() is None, "it is in the middle of its work"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
