"""How many workers a load of decodes needs, and what scaling, cold starts and lost machines do to waiting: simulated.

    python -m bench.capacity --turn 0.05 0.01 --steps 20 [--a-day 100000 1000000] [--price 2.5] [--json FILE]
    python -m bench.capacity --check

`--turn BASE EACH`: seconds of a turn of the engine with n requests, BASE + n x EACH, as measured on the device in
question. `--check` compares the simulator with a real run of the engine: it is told how long that run's turns took.
"""

import argparse
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.fleet import Engine, Losses, Request, Scaler, simulate
from codec.decode.engine.engine import Engine as DecodeEngine
from codec.decode.engine.turns import Order

_DAY, _HOUR, _SIMULATED = 86_400, 3_600, 1_800
_RUSH = 3.0
"""How much more comes in a day's busiest hour than in the mean one; half of that hour is simulated."""

_BILLION = 1_000_000_000


class Turn(NamedTuple):
    """One turn of a real engine, in seconds: `ended` by the clock of the run."""

    ended: float
    requests: int
    seconds: float


def main() -> None:
    """Simulate or check, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__.split("\n")[0])
    parser.add_argument("--turn", type=float, nargs=2, default=(0.05, 0.01), metavar=("BASE", "EACH"))
    parser.add_argument("--steps", type=int, default=20, help="of a picture")
    parser.add_argument("--most", type=int, default=16, help="requests under way in one worker")
    parser.add_argument("--a-day", type=int, nargs="+", default=[100_000, 1_000_000], help="pictures")
    parser.add_argument("--wait", type=float, default=30.0, help="seconds that 95 of 100 pictures may take")
    parser.add_argument("--cold-start", type=float, default=180.0, help="seconds from order to claim")
    parser.add_argument("--price", type=float, default=0.0, help="of a worker's hour")
    parser.add_argument("--check", action="store_true", help="compare with a real run of the engine")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.check:
        rows = check()
    else:
        engine = Engine(arguments.turn[0], arguments.turn[1], arguments.most)
        rows = [row for load in arguments.a_day for row in rush_hour(engine, arguments, load)]
        rows.append(_billion(engine, arguments))
    _print(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def rush_hour(engine: Engine, arguments: argparse.Namespace, a_day: int) -> list[dict[str, Any]]:
    """The busiest hour of a day: a fixed fleet that is just large enough, then scaled ones, then with losses."""
    rate = _RUSH * a_day / _DAY
    requests = poisson(rate, _SIMULATED, arguments.steps)
    workers = _fewest(engine, requests, rate, arguments)
    fixed = Scaler(workers, workers, 1.0)
    # Half of a worker's places: what it does well without being full.
    scaled = Scaler(1, 4 * workers, engine.most / 2, cold_start=arguments.cold_start)
    ways = {
        f"{workers} workers": (fixed, None),
        f"{workers} workers, each lost every 2 h": (fixed, Losses(2 * _HOUR)),
        "scaled from 1": (scaled, None),
        "scaled from 1, each lost every 2 h": (scaled, Losses(2 * _HOUR)),
    }
    rows = []
    for way, (scaler, losses) in ways.items():
        outcome = simulate(requests, engine, scaler, losses=losses)
        hours = outcome.worker_seconds / _HOUR
        rows.append(
            {
                "load": f"{a_day:,} a day",
                "way": way,
                "p50 s": outcome.percentile(50),
                "p95 s": outcome.percentile(95),
                "p99 s": outcome.percentile(99),
                "worker hours": hours,
                "cost": hours * arguments.price,
                "lost attempts": outcome.lost_attempts,
            }
        )
    return rows


def check(load: float = 0.8, seed: int = 0) -> list[dict[str, Any]]:
    """A real engine whose steps sleep, and the simulation of one whose turns take as long, served the same arrivals.

    Turns take longer than their steps sleep, by what a busy machine lets a thread wait until it is woken; near the full
    load a tenth more of a turn is half as much again of waiting, so the simulator is told what turns took.
    """
    engine, steps = Engine(0.01, 0.002), 10
    requests = poisson(load * engine.pictures_per_second(steps), 40.0, steps, seed)
    turns: list[Turn] = []
    real = _real_waits(engine, requests, turns)
    measured = fitted(turns, engine.most)
    outcome = simulate(requests, measured, Scaler(1, 1, 1.0))
    rows = []
    for share in (50, 95, 99):
        waited, simulated = float(np.percentile(real, share)), outcome.percentile(share)
        rows.append({"percentile": share, "engine s": waited, "simulated s": simulated, "ratio": simulated / waited})
    rows.append({"turn of 1, s": measured.turn(1), f"turn of {engine.most}, s": measured.turn(engine.most)})
    return rows


def fitted(turns: Sequence[Turn], most: int) -> Engine:
    """The engine whose turns take what those of a run took, with what lay between two of them, by least squares."""
    lengths = [turn.seconds for turn in turns[:1]]
    for before, turn in pairwise(turns):
        between = turn.ended - turn.seconds - before.ended
        # A longer pause is one in which nobody was there.
        lengths.append(turn.seconds + (between if between < turn.seconds / 2 else 0.0))
    each, base = np.polyfit([turn.requests for turn in turns], lengths, 1)
    return Engine(max(0.0, float(base)), max(0.0, float(each)), most)


def poisson(rate: float, seconds: float, steps: int, seed: int = 0) -> list[Request]:
    """Requests that come independently of each other, `rate` a second on average."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))
    return [Request(float(at), steps) for at in times]


def _fewest(engine: Engine, requests: Sequence[Request], rate: float, arguments: argparse.Namespace) -> int:
    """The fewest workers with which 95 of 100 pictures wait no longer than asked."""
    workers = max(1, int(rate / engine.pictures_per_second(arguments.steps)))
    while simulate(requests, engine, Scaler(workers, workers, 1.0)).percentile(95) > arguments.wait:
        workers += 1
    return workers


def _billion(engine: Engine, arguments: argparse.Namespace) -> dict[str, Any]:
    hours = _BILLION / engine.pictures_per_second(arguments.steps) / _HOUR
    return {
        "load": f"{_BILLION:,} in all",
        "way": f"{hours / 24 / 365:.1f} workers for a year, always full",
        "worker hours": hours,
        "cost": hours * arguments.price,
    }


class _Sleeper:
    """A restorer whose steps do nothing but take the time that they are said to take."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def step(self, states: Sequence["_State"]) -> None:
        """One turn."""
        time.sleep(self._engine.turn(len(states)))
        for state in states:
            state.steps_done += 1


class _State:
    failure: Exception | None = None
    batch_key = "one"

    def __init__(self, steps: int) -> None:
        self.seconds: dict[str, float] = {}
        self.steps_done, self.steps_total = 0, steps

    @property
    def is_done(self) -> bool:
        return self.steps_done == self.steps_total


def _real_waits(engine: Engine, requests: Sequence[Request], turns: list[Turn]) -> list[float]:
    """A thread for each request under way, as in a worker; its turns are added to `turns`."""
    waits = [0.0] * len(requests)
    restorer: Any = _Sleeper(engine)
    places = threading.Semaphore(engine.most)

    def _note(count: int, seconds: float, _pixels: float) -> None:
        turns.append(Turn(time.perf_counter(), count, seconds))

    with DecodeEngine(most_together=engine.most, on_step=_note) as real, ThreadPoolExecutor(engine.most) as pool:
        begun = time.perf_counter()

        def _serve(index: int, request: Request) -> None:
            state: Any = _State(request.steps)
            with places:
                real.advance(restorer, state, Order(1), lambda: None, lambda: False)
            waits[index] = time.perf_counter() - begun - request.at

        for index, request in enumerate(requests):
            time.sleep(max(0.0, begun + request.at - time.perf_counter()))
            pool.submit(_serve, index, request)
    return waits


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in columns))
    Console(width=max(110, Console().width)).print(table)


def _shown(value: object) -> str:
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
