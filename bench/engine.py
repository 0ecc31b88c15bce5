"""The decode engine beside one request after the other and beside static batches, on the same restorer in one run.

    python -m bench.engine [--requests 64] [--load 0.8] [--large 3000x2000] [--threads N] [--json FILE]

Closed: so many requests of mixed sizes at once. Load: the same requests, which arrive by a Poisson process at a share
of what one after the other can do. Behind a large one: small requests that arrive while a picture of many megapixels is
restored. Overhead: steps of the engine a second with a restorer whose steps cost nothing.
"""

import argparse
import json
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.arrivals import Arrival, at_once, measure, poisson, serve_by_engine, serve_in_batches, serve_serially
from cli.local.paths import weights_store
from codec.bitstream.stream import Texts
from codec.decode.engine.engine import Engine
from codec.decode.engine.turns import Order
from codec.decode.restore import Restorer, RestoreRequest
from codec.decode.restorers import Restorers
from codec.options import DecodeOptions, RestorerName

_SIZES = ((48, 64), (64, 64), (64, 64), (96, 64), (90, 120), (96, 128), (128, 128), (160, 120), (256, 192), (384, 256))
"""Width and height: thumbnails and small pictures, a few larger ones."""

_OVERHEAD_STEPS, _OVERHEAD_REQUESTS = 20_000, 16


def main() -> None:
    """Run all parts and print them."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=64, help="of mixed sizes (64)")
    parser.add_argument("--load", type=float, nargs="+", default=[0.8], help="shares of the serial capacity (0.8)")
    parser.add_argument("--large", default="3000x2000", help="size of the large picture; 0 leaves that part out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    requests = [_request(*_SIZES[index % len(_SIZES)], rng) for index in rng.permutation(arguments.requests)]
    rows: list[dict[str, Any]] = []
    with Restorers(weights_store()).use(requests[0].options) as restorer:
        serve_serially(restorer, at_once(requests[: len(_SIZES)]))  # warms everything up
        rows += _measured("closed", restorer, at_once(requests))
        capacity = rows[0]["pictures_per_second"]
        for load in arguments.load:
            rows += _measured(f"load {load:g}", restorer, poisson(requests, load * capacity, rng))
        if arguments.large != "0":
            width, height = map(int, arguments.large.split("x"))
            large = Arrival(0.0, _request(width, height, rng))
            small = [Arrival(0.5 + 0.5 * number, request) for number, request in enumerate(requests[:16])]
            rows += _measured(f"behind {arguments.large}", restorer, [large, *small], skip=1)
    steps = overhead()
    _print(rows, steps)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "steps_per_second": steps}, indent=2) + "\n")


def overhead() -> float:
    """State-steps a second of an engine whose restorer does nothing."""

    class State:
        failure: Exception | None = None
        batch_key = None
        seconds: dict[str, float] = {}  # noqa: RUF012
        steps_done, steps_total = 0, _OVERHEAD_STEPS // _OVERHEAD_REQUESTS

        @property
        def is_done(self) -> bool:
            return self.steps_done == self.steps_total

    class Nothing:
        def step(self, states: Sequence[State]) -> None:
            for state in states:
                state.steps_done += 1

    ended: queue.SimpleQueue[float] = queue.SimpleQueue()
    nothing: Any = Nothing()

    def _serve() -> None:
        state: Any = State()
        engine.advance(nothing, state, Order(1), lambda: None, lambda: False)
        ended.put(time.perf_counter())

    with Engine() as engine:
        begun = time.perf_counter()
        threads = [threading.Thread(target=_serve) for _ in range(_OVERHEAD_REQUESTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return _OVERHEAD_STEPS / (max(ended.get() for _ in threads) - begun)


def _request(width: int, height: int, rng: np.random.Generator) -> RestoreRequest:
    cells = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    coarse = cells.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return RestoreRequest(coarse, Texts((), ""), (), DecodeOptions(restorer=RestorerName.GAN), seed=0)


def _measured(part: str, restorer: Restorer, arrivals: Sequence[Arrival], skip: int = 0) -> list[dict[str, Any]]:
    """One row for each way of serving."""
    ways = {"serial": serve_serially, "static": serve_in_batches, "engine": serve_by_engine}
    return [{"part": part, "way": way} | measure(serve, restorer, arrivals, skip) for way, serve in ways.items()]


def _print(rows: Sequence[dict[str, Any]], steps: float) -> None:
    table = Table("part", "way", "pictures/s", "p50 s", "p95 s", "p99 s")
    for row in rows:
        table.add_row(row["part"], row["way"], *(f"{row[key]:.2f}" for key in list(row)[2:]))
    console = Console()
    console.print(table)
    console.print(f"Steps of the engine where they cost nothing: {steps:,.0f} a second.")


if __name__ == "__main__":
    main()
