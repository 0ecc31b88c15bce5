"""How fast pictures are described by a language model that takes seconds to answer: one after the other, all at once,
and under a limit over two worker processes. The whole service runs, and a local server plays the model.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from cli.up.stack import EmbeddedStack

_OPTIONS = {"describe": "openai", "mode": "pixel", "maps": False}
_WINDOW_SECONDS = 60.0
_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Figures:
    """One round. `seconds` are from the first request to the last recorded result."""

    round: str
    workers: int
    limit_a_minute: int
    pictures: int
    seconds: float
    requests: int
    most_at_once: int
    most_in_a_minute: int


def main() -> None:
    """Run the rounds and print them."""
    parser = argparse.ArgumentParser(prog="python -m bench.describe", description=__doc__)
    parser.add_argument("--pictures", type=int, default=60, help="pictures of the round all at once")
    parser.add_argument("--singly", type=int, default=8, help="pictures of the round one after the other")
    parser.add_argument(
        "--limited", type=int, default=75, help="pictures of the round under the limit; 0 leaves it out"
    )
    parser.add_argument("--latency", type=float, default=2.0, help="seconds that the model takes")
    parser.add_argument("--limit", type=int, default=60, help="requests a minute in the round under the limit")
    parser.add_argument("--edge", type=int, default=128, help="long edge of the pictures in pixels")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with _model(arguments.latency) as model:
        figures = [
            _run("one after the other", model, arguments.singly, arguments.edge, workers=1, limit=600, singly=True),
            _run("all at once", model, arguments.pictures, arguments.edge, workers=1, limit=600),
        ]
        if arguments.limited:
            figures.append(_run("limited", model, arguments.limited, arguments.edge, workers=2, limit=arguments.limit))
    gain = (figures[0].seconds / figures[0].pictures) / (figures[1].seconds / figures[1].pictures)
    _print(figures, gain, arguments.latency)
    if arguments.json:
        content = {"rounds": [asdict(one) for one in figures], "times_faster": gain, "latency": arguments.latency}
        arguments.json.write_text(json.dumps(content, indent=2))


def _run(
    name: str, model: httpx.Client, pictures: int, edge: int, *, workers: int, limit: int, singly: bool = False
) -> Figures:
    environment = dict(os.environ) | {
        "MISC_LMM_BASE_URL": str(model.base_url.join("/v1")),
        "MISC_LMM_MODEL": "played",
        "MISC_LMM_REQUESTS_PER_MINUTE": str(limit),
    }
    files = [_picture(number, edge) for number in range(pictures + 2 * workers)]
    with (
        tempfile.TemporaryDirectory(prefix="misc-bench-") as folder,
        EmbeddedStack(Path(folder), port=0, encode_workers=workers, environment=environment) as stack,
        httpx.Client(base_url=stack.base_url, timeout=60) as client,
    ):
        stack.wait_ready()
        # The first pictures of a process load libraries; they are no part of the round.
        _do(client, files[pictures:])
        model.post("/_clear")
        started = time.perf_counter()
        jobs = (
            [job for file in files[:pictures] for job in _do(client, [file])]
            if singly
            else _do(client, files[:pictures])
        )
        seconds = time.perf_counter() - started
    for job in jobs:
        if job["state"] != "succeeded" or job["usage"] is None:
            raise RuntimeError(f"the model described nothing: the job {job['state']}, {job['error']}")
    log = model.get("/_log").json()
    sent_at = [entry["monotonic"] for entry in log["requests"] if entry["path"] == "/v1/chat/completions"]
    return Figures(
        round=name,
        workers=workers,
        limit_a_minute=limit,
        pictures=len(jobs),
        seconds=seconds,
        requests=len(sent_at),
        most_at_once=log["most_open_requests"],
        most_in_a_minute=max(sum(start <= other < start + _WINDOW_SECONDS for other in sent_at) for start in sent_at),
    )


def _do(client: httpx.Client, files: list[bytes]) -> list[Mapping[str, Any]]:
    """Hand the pictures in as one batch and wait; returns the jobs."""
    parts = [("files", (f"{number}.png", file, "image/png")) for number, file in enumerate(files)]
    answer = client.post("/v1/batches", files=parts, data={"options": json.dumps(_OPTIONS)})
    answer.raise_for_status()
    batch_id = answer.json()["id"]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not client.get(f"/v1/batches/{batch_id}").json()["is_done"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the batch did not end within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)
    page: dict[str, Any] = {"next_cursor": None}
    jobs: list[Mapping[str, Any]] = []
    while not jobs or page["next_cursor"]:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        page = client.get("/v1/jobs", params={"batch_id": batch_id, "limit": 100} | cursor).json()
        jobs += page["items"]
    return jobs


def _picture(seed: int, edge: int) -> bytes:
    """A picture of 4:3 that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((edge, edge * 3 // 4), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@contextmanager
def _model(latency: float) -> Iterator[httpx.Client]:
    """A process that plays the model; a client of its own pages."""
    command = [sys.executable, "-m", "tests.lmm_server", "--port", "0", "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip().removesuffix("/v1")
            with httpx.Client(base_url=base_url, timeout=60) as client:
                yield client
        finally:
            process.terminate()


def _print(figures: list[Figures], gain: float, latency: float) -> None:
    table = Table(title=f"Describing by a model that takes {latency:g} s")
    columns = ("round", "workers", "limit/min", "pictures", "seconds", "s/picture", "at once", "in 60 s")
    for column in columns:
        table.add_column(column, justify="left" if column == "round" else "right")
    for one in figures:
        table.add_row(
            one.round,
            str(one.workers),
            str(one.limit_a_minute),
            str(one.pictures),
            f"{one.seconds:.1f}",
            f"{one.seconds / one.pictures:.2f}",
            str(one.most_at_once),
            str(one.most_in_a_minute),
        )
    console = Console()
    console.print(table)
    console.print(f"All at once is {gain:.1f} times faster than one after the other.")


if __name__ == "__main__":
    main()
