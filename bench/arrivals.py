"""Requests that arrive, and three ways of serving them: one after the other, in static batches, by the engine.

Open loop: a request comes when it comes, however many wait. Measures waiting; makes neither requests nor networks.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from codec.decode.engine.engine import Engine
from codec.decode.engine.turns import Order
from codec.decode.restore import Restorer, RestoreRequest

_LARGEST_BATCH = 16
"""As many as the engine takes together, so that neither way has more of a call's gain."""


class Arrival(NamedTuple):
    """A request and when it comes, in seconds from the start."""

    at: float
    request: RestoreRequest


Serve = Callable[[Restorer, Sequence[Arrival]], list[float]]
"""Serves arrivals; returns the seconds that each waited for its picture, in order."""


def at_once(requests: Sequence[RestoreRequest]) -> list[Arrival]:
    """All of them at the start."""
    return [Arrival(0.0, request) for request in requests]


def poisson(requests: Sequence[RestoreRequest], rate: float, rng: np.random.Generator) -> list[Arrival]:
    """The requests in their order, independently of each other, `rate` a second on average."""
    times = np.cumsum(rng.exponential(1 / rate, len(requests)))
    return [*map(Arrival, map(float, times), requests)]


def serve_serially(restorer: Restorer, arrivals: Sequence[Arrival]) -> list[float]:
    """One after the other, as they come."""
    begun, waits = time.perf_counter(), []
    for arrival in arrivals:
        time.sleep(max(0.0, begun + arrival.at - time.perf_counter()))
        restorer.finish(restorer.begin(arrival.request))
        waits.append(time.perf_counter() - begun - arrival.at)
    return waits


def serve_in_batches(restorer: Restorer, arrivals: Sequence[Arrival]) -> list[float]:
    """Static batches: whatever waits when the device is free, up to 16, is advanced to the end of its last."""
    begun, waits, left = time.perf_counter(), [0.0] * len(arrivals), list(enumerate(arrivals))
    while left:
        time.sleep(max(0.0, begun + left[0][1].at - time.perf_counter()))
        now = time.perf_counter() - begun
        batch = [each for each in left[:_LARGEST_BATCH] if each[1].at <= now]
        left = left[len(batch) :]
        states = [restorer.begin(arrival.request) for _, arrival in batch]
        while not all(state.is_done for state in states):
            restorer.step(states)
        for (index, arrival), state in zip(batch, states, strict=True):
            restorer.finish(state)
            waits[index] = time.perf_counter() - begun - arrival.at
    return waits


def serve_by_engine(restorer: Restorer, arrivals: Sequence[Arrival]) -> list[float]:
    """A thread for each request, as in a worker; the engine takes the steps."""
    waits = [0.0] * len(arrivals)
    with Engine() as engine, ThreadPoolExecutor(len(arrivals)) as pool:
        begun = time.perf_counter()

        def _serve(index: int, arrival: Arrival) -> None:
            height, width = arrival.request.coarse.shape[:2]
            state = restorer.begin(arrival.request)
            engine.advance(restorer, state, Order(height * width), lambda: None, lambda: False)
            restorer.finish(state)
            waits[index] = time.perf_counter() - begun - arrival.at

        served = []
        for index, arrival in enumerate(arrivals):
            time.sleep(max(0.0, begun + arrival.at - time.perf_counter()))
            served.append(pool.submit(_serve, index, arrival))
        for each in served:
            each.result()
    return waits


def measure(serve: Serve, restorer: Restorer, arrivals: Sequence[Arrival], skip: int = 0) -> dict[str, Any]:
    """Pictures a second, and percentiles of the seconds waited, in which the first `skip` requests do not count."""
    begun = time.perf_counter()
    waits = serve(restorer, arrivals)
    seconds = time.perf_counter() - begun
    p50, p95, p99 = map(float, np.percentile(waits[skip:], (50, 95, 99)))
    return {"pictures_per_second": len(arrivals) / seconds, "p50": p50, "p95": p95, "p99": p99}
