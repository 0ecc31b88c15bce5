"""Rate limits for requests to a language model: requests and tokens in any minute, pauses, money.

`RedisRateLimiter` holds for all processes of a service, `LocalRateLimiter` for the threads of one process without
Redis. Money is counted in the database (`core.describing.budget`).
"""

import hashlib
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import redis

from codec.interruptible import wait as wait_interruptibly
from core.broker import connect_redis
from core.describing.budget import Budget, Reservation
from core.logging import get_logger
from core.settings import BrokerSettings
from models.base import new_id

_log = get_logger(__name__)

_SCRIPT = (Path(__file__).parent / "rate_limit.lua").read_text()

WINDOW = timedelta(minutes=1)

CLOCK_MARGIN = timedelta(seconds=2)
"""Between a permit and the request's arrival lie a busy process and a network, and not always the same time. A permit
counts for this much longer than the window, so that the server, by its own clock, never sees more than the limit."""

_LOOK_SECONDS = 0.2
"""How often a thread looks whether its process's own limits let it go on."""

_LONGEST_PAUSE_SECONDS = 3600.0
"""A server that asks for more is asked again after this."""


class Permit:
    """One request's share of the limits and of the budget. The codec's Permit."""

    def __init__(
        self, record_tokens: Callable[[int], None], budget: Budget | None, reservation: Reservation | None
    ) -> None:
        self._record_tokens, self._budget, self._reservation = record_tokens, budget, reservation

    def settle(self, tokens: int, cost: float) -> None:
        """The request was answered, and this is what it truly used."""
        self._record_tokens(max(0, tokens))
        self._pay(cost)

    def cancel(self) -> None:
        """The request used nothing that is paid for; its place in the limits stays taken."""
        self._pay(0.0)

    def _pay(self, cost: float) -> None:
        if self._budget is not None and self._reservation is not None:
            self._budget.settle(self._reservation, cost)


class _BudgetedLimiter(ABC):
    """The codec's RateLimiter over a budget; what a place in the limits is, the children know."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._paused_until = 0.0

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> Permit:
        """Wait until one request of about `tokens` tokens and at most `cost` may be sent.

        Raises BudgetExhausted when the cost would pass the spending cap, Cancelled when told to stop, and
        DatabaseUnavailable when the cap cannot be asked about.
        """
        if self._budget is not None:
            # Before the wait, which may be long: a request that cannot be paid needs no place.
            self._budget.check(cost)
        reservation: Reservation | None = None
        try:
            while True:
                place = self._take(tokens, cancelled)
                try:
                    if self._budget is not None and reservation is None:
                        reservation = self._budget.reserve(cost, cancelled)
                    if self._begin(place, cancelled):
                        return Permit(partial(self._record_tokens, place), self._budget, reservation)
                except BaseException:
                    self._drop(place)
                    raise
        except BaseException:
            if reservation is not None and self._budget is not None:
                self._budget.settle(reservation, 0.0)
            raise

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for this long: by order of the server."""
        seconds = min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    @abstractmethod
    def _take(self, tokens: int, cancelled: Callable[[], bool]) -> str:
        """Take a place in the limits, and wait until its moment has come; returns its id."""

    @abstractmethod
    def _begin(self, place: str, cancelled: Callable[[], bool]) -> bool:
        """Whether to send now; False when the moment went by, or a pause began, and another place is needed."""

    @abstractmethod
    def _drop(self, place: str) -> None:
        """Give the place up: nothing is sent."""

    @abstractmethod
    def _record_tokens(self, place: str, tokens: int) -> None:
        """Count what the request truly used."""


class RedisRateLimiter(_BudgetedLimiter):
    """One limit for all processes that ask the same model; one object a process, called from many threads.

    Places are given out by a script inside Redis (`rate_limit.lua`), by its clock and in the order of asking, and each
    caller learns at once how long to wait: so any number of waiting threads costs two short calls each. While Redis is
    away nobody knows what the others send: with a limit set nothing is sent until it is back, without one only this
    process's own pauses are kept. When Redis comes back empty, a whole window goes by.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        name: str,
        *,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        budget: Budget | None = None,
        window: timedelta = WINDOW,
        margin: timedelta = CLOCK_MARGIN,
    ) -> None:
        """`name` says whose limits these are, such as a server's address and a model's name; 0 is no limit."""
        super().__init__(budget)
        self._redis = connect_redis(broker)
        self._script = self._redis.register_script(_SCRIPT)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._keys = [f"misc:pace:{digest}:{part}" for part in ("turns", "tokens", "state")]
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._window_ms = round((window + margin).total_seconds() * 1000)
        # A process that was suspended past its moment by more than this takes another place.
        self._tolerance_ms = round(margin.total_seconds() * 1000 / 2)
        self._generation = ""

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for this long, in any process: by order of the server."""
        super().pause(seconds)
        self._send("pause", str(round(min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS) * 1000)))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _take(self, tokens: int, cancelled: Callable[[], bool]) -> str:
        place = new_id("trn")
        _sleep(self._paused_until - time.monotonic(), cancelled)
        reply = self._call(
            cancelled,
            "take",
            place,
            str(max(0, tokens)),
            str(self._window_ms),
            str(self._requests),
            str(self._tokens),
            self._generation,
            new_id("gen"),
        )
        if reply is None:
            return place
        wait_ms, self._generation = int(reply[0]), str(reply[1])
        try:
            _sleep(wait_ms / 1000, cancelled)
        except BaseException:
            self._drop(place)
            raise
        return place

    def _begin(self, place: str, cancelled: Callable[[], bool]) -> bool:
        while True:
            reply = self._call(cancelled, "begin", place, str(self._tolerance_ms))
            if reply is None or int(reply) == 0:
                return True
            if int(reply) < 0:
                return False
            _sleep(int(reply) / 1000, cancelled)

    def _drop(self, place: str) -> None:
        self._send("drop", place)

    def _record_tokens(self, place: str, tokens: int) -> None:
        self._send("settle", place, str(tokens))

    def _call(self, cancelled: Callable[[], bool], *arguments: str) -> Any:
        """The script's reply; None for "go on" when Redis is away and there is no limit to keep."""
        warned = False
        while True:
            try:
                return self._script(keys=self._keys, args=list(arguments))
            except (redis.RedisError, OSError) as error:
                if not warned:
                    _log.warning("pace_not_shared", waits=bool(self._requests or self._tokens), error=str(error))
                    warned = True
            if not (self._requests or self._tokens):
                return None
            # Many threads wait for the same Redis; they should not all come back in the same instant.
            _sleep(random.uniform(0.5, 1.5), cancelled)

    def _send(self, *arguments: str) -> None:
        """Send what may be lost: then a place is wasted, or a pause is kept by this process alone."""
        try:
            self._script(keys=self._keys, args=list(arguments))
        except (redis.RedisError, OSError) as error:
            _log.warning("pace_not_told", what=arguments[0], error=str(error))


class LocalRateLimiter(_BudgetedLimiter):
    """The same limits for the threads of one process. A request of more tokens than a minute allows goes alone."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int, budget: Budget | None) -> None:
        """0 is no limit."""
        super().__init__(budget)
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._taken: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def _take(self, tokens: int, cancelled: Callable[[], bool]) -> str:
        place = new_id("trn")
        while not self._take_now(place, tokens):
            _sleep(_LOOK_SECONDS, cancelled)
        return place

    def _take_now(self, place: str, tokens: int) -> bool:
        with self._lock:
            now = time.monotonic()
            oldest = now - (WINDOW + CLOCK_MARGIN).total_seconds()
            self._taken = {name: entry for name, entry in self._taken.items() if entry[0] > oldest}
            used = sum(entry[1] for entry in self._taken.values())
            is_full = bool(self._requests) and len(self._taken) >= self._requests
            is_spent = bool(self._tokens) and bool(self._taken) and used + tokens > self._tokens
            if now < self._paused_until or is_full or is_spent:
                return False
            self._taken[place] = (now, tokens)
            return True

    def _begin(self, place: str, cancelled: Callable[[], bool]) -> bool:
        with self._lock:
            _, tokens = self._taken.pop(place, (0.0, 0))
            if time.monotonic() < self._paused_until:
                return False
            # Waiting for money takes time, and the window begins with the request.
            self._taken[place] = (time.monotonic(), tokens)
            return True

    def _drop(self, place: str) -> None:
        with self._lock:
            self._taken.pop(place, None)

    def _record_tokens(self, place: str, tokens: int) -> None:
        with self._lock:
            if place in self._taken:
                self._taken[place] = (self._taken[place][0], tokens)


def _sleep(seconds: float, cancelled: Callable[[], bool]) -> None:
    wait_interruptibly(seconds, cancelled, "Stopped while waiting for a turn at the language model.")
