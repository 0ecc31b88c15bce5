"""Many small pictures pushed as one batch while everything dies: `python -m bench.group --pictures 2000`.

Starts the service on this machine and `misc push` on a folder. On the way the push is killed and run again, and the API
and the encode worker are killed and restarted. At the end each picture has to be there once, and the batch's event
stream, followed from beginning to end, never to have gone back. Exit status 1 when that does not hold.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.server.client import Client, ClientError
from cli.server.group import Group
from cli.up.stack import EmbeddedStack

_KILLS = ((0.15, "push"), (0.35, "api"), (0.55, "encode-1"), (0.75, "api"))
"""After which share of the pictures what is killed."""

_FOLDERS = 20
_NAME = "group"


@dataclass
class Figures:
    """What came of it. `told` are the progresses of the event stream, in order."""

    pictures: int
    seconds: float = 0.0
    told: list[float] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def steps_back(self) -> int:
        """How often the progress that was told went back."""
        return sum(later < earlier for earlier, later in zip(self.told, self.told[1:], strict=False))


def main() -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.group", description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="misc-group-") as folder:
        figures = run(arguments.pictures, Path(folder), lambda line: print(line, flush=True))
    print(
        f"{figures.pictures} pictures in {figures.seconds:.0f} s, killed on the way: {', '.join(figures.killed)}; "
        f"{len(figures.told)} events, {figures.steps_back} steps back; {len(figures.faults)} faults"
    )
    for fault in figures.faults:
        print(fault)
    return 1 if figures.faults or figures.steps_back else 0


def run(pictures: int, folder: Path, say: Callable[[str], None]) -> Figures:
    """Push so many pictures from below `folder`, with everything killed on the way."""
    source, figures = folder / _NAME, Figures(pictures)
    names = _make_pictures(source, pictures)
    environment = isolated_environment(os.environ) | {"MISC_WORKER_LEASE": "5", "XDG_STATE_HOME": str(folder / "state")}
    with EmbeddedStack(folder / "data", 0, environment=environment) as stack:
        stack.wait_ready(300)
        started = time.monotonic()
        push = _Push(source, stack.base_url, environment)
        with Client(stack.base_url) as client:
            client.patience_seconds = 300
            group = _group_of(client)
            watcher = threading.Thread(
                target=lambda: group.wait(lambda batch: figures.told.append(batch["progress"])), daemon=True
            )
            watcher.start()
            for share, victim in _KILLS:
                _wait_for_share(client, group, share, pictures)
                say(f"{time.monotonic() - started:5.0f} s: {share:.0%} done, {victim} is killed")
                figures.killed.append(victim)
                if victim == "push":
                    push.kill()
                    push = _Push(source, stack.base_url, environment)
                else:
                    os.kill(stack.pids[victim], signal.SIGKILL)
            status, manifest = push.wait()
            watcher.join(60)
            figures.seconds = time.monotonic() - started
            if status != 0 or watcher.is_alive():
                figures.faults.append(f"The push ended with {status}; its stream ended: {not watcher.is_alive()}.")
            figures.faults += _faults(client, group, names, manifest)
    return figures


class _Push:
    """`misc push` of the folder in a process of its own."""

    def __init__(self, source: Path, server: str, environment: dict[str, str]) -> None:
        self._manifest = source.parent / "manifest.jsonl"
        options = ["--mode", "pixel", "--describe", "none", "--blocks", "8", "--manifest-out", str(self._manifest)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "push", str(source), "--server", server, *options, "--json"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> tuple[int, Path]:
        return self._process.wait(), self._manifest


def _make_pictures(folder: Path, pictures: int) -> list[str]:
    names = [f"{number % _FOLDERS:02}/{number:05}.png" for number in range(pictures)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return names


def _group_of(client: Client) -> Group:
    """The batch of the push that has just begun."""
    while (found := next(client.batches(name=_NAME), None)) is None or found["expected"] is None:
        time.sleep(0.1)
    return Group(client, found["id"])


def _wait_for_share(client: Client, group: Group, share: float, pictures: int) -> None:
    while True:
        try:
            counts = client.batch(group.id)["counts"]
        except ClientError:
            counts = {}
        if sum(counts.get(state, 0) for state in ("succeeded", "failed", "cancelled")) >= share * pictures:
            return
        time.sleep(0.2)


def _faults(client: Client, group: Group, names: list[str], manifest: Path) -> list[str]:
    """Sentences on what does not hold at the end."""
    faults = []
    report = group.report()
    if report["images"]["ready"] != len(names) or report["batch"]["total"] != len(names) or report["failures"]:
        faults.append(f"The report has {report['images']}, {report['batch']['total']} jobs, {report['failures']}.")
    told = Counter(json.loads(line)["name"] for line in manifest.read_text().splitlines())
    kept = Counter(f"{image['folder']}/{image['name']}" for image in client.images(batch_id=group.id))
    for what, found in (("manifest", told), ("archive", kept)):
        if found != Counter(names):
            several = [name for name, count in found.items() if count > 1]
            missing = set(names) - set(found)
            faults.append(f"The {what} has {found.total()} pictures; several times {several}, missing {missing}.")
    return faults


if __name__ == "__main__":
    sys.exit(main())
