"""A fleet of decode workers in simulated time: pictures that arrive, engines that share steps, a scaler, lost machines.

Nothing here measures: how long a step takes is given. Time is in seconds from the start.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Engine:
    """What one worker's engine does: a turn with n requests takes `base` + n x `each` seconds and advances all of them
    by a step; `most` are under way at once."""

    base: float
    each: float
    most: int = 16

    def turn(self, requests: int) -> float:
        """Seconds of a turn."""
        return self.base + self.each * requests

    def pictures_per_second(self, steps: float) -> float:
        """At most, with all places taken by requests of so many steps."""
        return self.most / (self.turn(self.most) * steps)


@dataclass(frozen=True)
class Scaler:
    """Looks every `period` at the jobs queued or running and wants one worker for `jobs_each` of them, between `least`
    and `most`. A worker needs `cold_start` until it claims; one too many goes after `patience` of being too many."""

    least: int
    most: int
    jobs_each: float
    period: float = 15.0
    cold_start: float = 180.0
    patience: float = 300.0


@dataclass(frozen=True)
class Losses:
    """Machines that go without a word, each every `mean_life` seconds on average; its jobs are free after `lease`."""

    mean_life: float
    lease: float = 15.0


class Request(NamedTuple):
    """A picture: when it comes, and the steps that it takes."""

    at: float
    steps: int


@dataclass
class Outcome:
    """Seconds that each request waited for its picture, in order; seconds of workers that are paid; lost attempts."""

    waits: npt.NDArray[np.float64]
    worker_seconds: float
    lost_attempts: int

    def percentile(self, share: float) -> float:
        """Of the waits; `share` in [0, 100]."""
        return float(np.percentile(self.waits, share))


@dataclass
class _Worker:
    """`turns` counts the turns it has taken, as a real number: all its requests advance together."""

    number: int
    born: float
    ready: bool = False
    leaving: bool = False
    turns: float = 0.0
    seen: float = 0.0
    plan: int = 0
    ends: list[tuple[float, int]] = field(default_factory=list)

    def advance(self, now: float, engine: Engine) -> None:
        if self.ends:
            self.turns += (now - self.seen) / engine.turn(len(self.ends))
        self.seen = now


def simulate(
    requests: Sequence[Request], engine: Engine, scaler: Scaler, *, losses: Losses | None = None, seed: int = 0
) -> Outcome:
    """Serve all requests, oldest first, each by the worker that has least under way."""
    return _Fleet(requests, engine, scaler, losses, seed).run()


class _Fleet:
    def __init__(
        self, requests: Sequence[Request], engine: Engine, scaler: Scaler, losses: Losses | None, seed: int
    ) -> None:
        self._requests, self._engine, self._scaler, self._losses = requests, engine, scaler, losses
        self._random = np.random.default_rng(seed)
        self._events: list[tuple[float, int, str, int]] = []
        self._order, self._numbers = count(), count()
        self._workers: dict[int, _Worker] = {}
        self._queue: deque[int] = deque()
        self._waits = np.full(len(requests), math.nan)
        self._left, self._paid, self._lost = len(requests), 0.0, 0
        self._crowded = 0.0
        for index, request in enumerate(requests):
            self._push(request.at, "arrival", index)
        for _ in range(scaler.least):
            self._order_worker(0.0, cold_start=0.0)
        self._push(scaler.period, "look", 0)

    def run(self) -> Outcome:
        now = 0.0
        while self._left:
            now, _, kind, subject = heapq.heappop(self._events)
            getattr(self, f"_on_{kind}")(now, subject)
        self._paid += sum(now - worker.born for worker in self._workers.values())
        return Outcome(self._waits, self._paid, self._lost)

    def _push(self, at: float, kind: str, subject: int) -> None:
        heapq.heappush(self._events, (at, next(self._order), kind, subject))

    def _on_arrival(self, now: float, index: int) -> None:
        self._queue.append(index)
        self._claim(now)

    def _on_look(self, now: float, _: int) -> None:
        scaler = self._scaler
        staying = [worker for worker in self._workers.values() if not worker.leaving]
        jobs = len(self._queue) + sum(len(worker.ends) for worker in self._workers.values())
        wanted = min(scaler.most, max(scaler.least, math.ceil(jobs / scaler.jobs_each)))
        for _missing in range(wanted - len(staying)):
            self._order_worker(now, scaler.cold_start)
        self._crowded = self._crowded + scaler.period if wanted < len(staying) else 0.0
        if self._crowded > scaler.patience:
            for worker in sorted(staying, key=lambda each: len(each.ends))[: len(staying) - wanted]:
                worker.leaving = True
                self._dismiss_idle(now, worker)
        self._push(now + scaler.period, "look", 0)

    def _on_ready(self, now: float, number: int) -> None:
        if worker := self._workers.get(number):
            worker.ready, worker.seen = True, now
            self._claim(now)

    def _on_loss(self, now: float, number: int) -> None:
        worker = self._workers.pop(number, None)
        if worker is None:
            return
        assert self._losses is not None, "nothing else announces one"
        self._paid += now - worker.born
        self._lost += len(worker.ends)
        for _, index in worker.ends:
            self._push(now + self._losses.lease, "arrival", index)
        if len(self._workers) < self._scaler.least:
            self._order_worker(now, self._scaler.cold_start)

    def _on_turn(self, now: float, subject: int) -> None:
        number, plan = divmod(subject, 1 << 32)
        worker = self._workers.get(number)
        if worker is None or worker.plan != plan:
            return
        worker.advance(now, self._engine)
        while worker.ends and worker.ends[0][0] <= worker.turns + 1e-9:
            _, index = heapq.heappop(worker.ends)
            self._waits[index] = now - self._requests[index].at
            self._left -= 1
        self._dismiss_idle(now, worker)
        self._claim(now)
        self._plan(now, worker)

    def _claim(self, now: float) -> None:
        """Hand queued requests to ready workers."""
        able = [worker for worker in self._workers.values() if worker.ready and not worker.leaving]
        while self._queue and able:
            worker = min(able, key=lambda each: len(each.ends))
            if len(worker.ends) >= self._engine.most:
                return
            index = self._queue.popleft()
            worker.advance(now, self._engine)
            heapq.heappush(worker.ends, (math.ceil(worker.turns - 1e-9) + self._requests[index].steps, index))
            self._plan(now, worker)

    def _plan(self, now: float, worker: _Worker) -> None:
        """Announce the next end; whatever was announced before holds no longer."""
        worker.plan += 1
        if worker.ends:
            left = max(0.0, worker.ends[0][0] - worker.turns)
            self._push(now + left * self._engine.turn(len(worker.ends)), "turn", (worker.number << 32) + worker.plan)

    def _order_worker(self, now: float, cold_start: float) -> None:
        worker = _Worker(next(self._numbers), now)
        self._workers[worker.number] = worker
        self._push(now + cold_start, "ready", worker.number)
        if self._losses is not None:
            self._push(now + float(self._random.exponential(self._losses.mean_life)), "loss", worker.number)

    def _dismiss_idle(self, now: float, worker: _Worker) -> None:
        if worker.leaving and not worker.ends and worker.number in self._workers:
            del self._workers[worker.number]
            self._paid += now - worker.born
