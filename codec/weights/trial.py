"""Opens a file of weights of which nobody published a digest in a child process, so that it can take neither memory nor
time nor the process of whoever takes it in."""

import json
import os
import subprocess
import sys
from pathlib import Path

from codec.errors import WeightsCorrupt

CPU_SECONDS = 120
"""The largest published file, 5 GB, takes some seconds; a machine ten times as slow is given its time."""

_WALL_SECONDS = 600.0
"""For a disk from which gigabytes come slowly."""

_CHILD = "codec.nets.loading.trial"
"""Started by name: this package does without PyTorch."""


def try_weights(path: Path, cpu_seconds: int = CPU_SECONDS) -> None:
    """Raise WeightsCorrupt, in a sentence or two, unless the file can be read as weights."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MISC_", "AWS_", "HF_"))}
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = environment["MALLOC_ARENA_MAX"] = "1"
    try:
        run = subprocess.run(
            [sys.executable, "-m", _CHILD, str(path.absolute()), str(cpu_seconds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WeightsCorrupt(f"{path} takes too long to read; it is damaged, or made to harm.") from None
    if run.returncode != 0:
        raise WeightsCorrupt(
            f"{path} ended the process that read it (status {run.returncode}); it is damaged, or made to harm."
        )
    message: str | None = json.loads(run.stdout).get("message")
    if message is not None:
        raise WeightsCorrupt(message)
