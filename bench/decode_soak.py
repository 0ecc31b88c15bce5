"""Thousands of small decodes through the whole service as `misc up` starts it: does memory grow, do files stay open?

    python -m bench.decode_soak [--decodes 2000] [--clients 8] [--edge 32] [--json FILE]

Each is an order of its own, restored by the network of lite. Memory and open files of the decode worker and of the API
are read on the way; the second half is compared with where it began.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from cli.up.stack import EmbeddedStack
from codec.bitstream import PixelCoarse, Stream
from codec.bitstream.container import pack

_WATCHED = ("decode-1", "api")
_SAMPLES = 40
_MOST_GROWTH = 0.05
_MOST_FILES = 4
"""More at the end than in the middle: connections come and go while somebody looks."""

_WAIT_SECONDS = 60


class Sample(NamedTuple):
    """What one process held after so many decodes."""

    decodes: int
    process: str
    resident_bytes: int
    files: int
    threads: int


def main() -> None:
    """Run, print, and end with 1 where something grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode_soak", description=__doc__.split("\n")[0])
    parser.add_argument("--decodes", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8, help="orders under way at a time (8)")
    parser.add_argument("--edge", type=int, default=32, help="pixels along the pictures' edges (32)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    begun = time.monotonic()
    samples = soak(arguments.decodes, arguments.clients, arguments.edge)
    figures: dict[str, Any] = {"decodes": arguments.decodes, "seconds": time.monotonic() - begun}
    figures |= {"growth": [growth(samples, process) for process in _WATCHED]}
    _print(samples, figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures | {"samples": [each._asdict() for each in samples]}, indent=2))
    raise SystemExit(any(each["resident"] > _MOST_GROWTH or each["files"] > _MOST_FILES for each in figures["growth"]))


def soak(decodes: int, clients: int, edge: int) -> list[Sample]:
    """Order the decodes, so many at a time, and look at the processes now and then."""
    samples: list[Sample] = []
    with ExitStack() as open_until:
        temporary = tempfile.TemporaryDirectory(prefix="misc-soak-", ignore_cleanup_errors=True)
        data = Path(open_until.enter_context(temporary)) / "data"
        stack = open_until.enter_context(EmbeddedStack(data, port=0, environment=dict(os.environ)))
        stack.wait_ready()
        # Connections that are kept may be closed by the server in the moment in which they are used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        client = httpx.Client(base_url=stack.base_url, timeout=2 * _WAIT_SECONDS, limits=limits)
        open_until.enter_context(client)
        pool = open_until.enter_context(ThreadPoolExecutor(clients))
        image_id = _image(client, edge)
        seeds = iter(range(decodes))
        while share := list(islice(seeds, max(1, decodes // _SAMPLES))):
            for ended in pool.map(lambda seed: _decode(client, image_id, seed), share):
                assert ended == "succeeded", ended
            samples += [_look(share[-1] + 1, name, stack.pids[name]) for name in _WATCHED]
            print(samples[-len(_WATCHED)], flush=True)
    return samples


def growth(samples: Sequence[Sample], process: str) -> dict[str, Any]:
    """How much more a process held at the end than in the middle: memory as a share, files as a number.

    Each is the median of a tenth of all samples, because a single one may fall into a moment of work.
    """
    own = [each for each in samples if each.process == process]
    few = max(1, len(own) // 10)
    middle, end = own[len(own) // 2 - few // 2 :][:few], own[-few:]
    before, after = (statistics.median(each.resident_bytes for each in part) for part in (middle, end))
    files = [statistics.median(each.files for each in part) for part in (middle, end)]
    return {
        "process": process,
        "middle_bytes": before,
        "end_bytes": after,
        "resident": after / before - 1,
        "files": files[1] - files[0],
    }


def _image(client: httpx.Client, edge: int) -> str:
    blocks = np.random.default_rng(0).integers(0, 256, 8 * 8 * 3, dtype=np.uint8) >> 3
    stream = Stream(edge, edge, PixelCoarse(8, 8, 3, blocks.tobytes()))
    answer = client.post("/v1/bitstreams", content=pack(stream).data, params={"name": "small.misc"})
    answer.raise_for_status()
    return str(answer.json()["image"]["id"])


def _decode(client: httpx.Client, image_id: str, seed: int) -> str:
    """Order one picture, wait for it and fetch it; returns how its job ended."""
    answer = client.post(
        f"/v1/images/{image_id}/reconstructions",
        json={"seed": seed, "restorer": "gan"},
        headers={"Prefer": f"wait={_WAIT_SECONDS}"},
    )
    answer.raise_for_status()
    order = answer.json()
    for state in _states(client, order["job"]):
        if state != "succeeded":
            continue
        client.get(f"/v1/reconstructions/{order['reconstruction']['id']}/content").raise_for_status()
        return state
    return "failed"


def _states(client: httpx.Client, job: dict[str, Any]) -> Iterator[str]:
    """States of a job until it has ended, of which the first may be the last."""
    while True:
        yield str(job["state"])
        if job["finished_at"] is not None:
            return
        time.sleep(0.2)
        job = client.get(f"/v1/jobs/{job['id']}").json()


def _look(decodes: int, name: str, pid: int) -> Sample:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    resident = int(status["VmRSS"].split()[0]) * 1024
    return Sample(decodes, name, resident, sum(1 for _ in (process / "fd").iterdir()), int(status["Threads"]))


def _print(samples: Sequence[Sample], figures: dict[str, Any]) -> None:
    table = Table(*Sample._fields, title=f"{figures['decodes']} decodes in {figures['seconds']:.0f} s")
    for sample in [*samples[:: 2 * len(_WATCHED)], *samples[1 :: 2 * len(_WATCHED)]]:
        table.add_row(*map(str, sample))
    console = Console()
    console.print(table)
    for each in figures["growth"]:
        console.print(
            f"{each['process']}: {each['middle_bytes'] / 2**20:.1f} MiB in the middle, "
            f"{each['end_bytes'] / 2**20:.1f} at the end ({each['resident']:+.1%}); open files {each['files']:+g}",
            highlight=False,
        )


if __name__ == "__main__":
    main()
