"""One pace for all processes that ask the same language model: requests and tokens in any minute, pauses, money.

Turns are given out by a script inside Redis (`rate_limit.lua`), by its clock and in the order of asking, and each
caller is told at once how long to wait: so any number of waiting threads costs two short calls each. Money is kept in
the database (`core.describing.budget`).
"""

import hashlib
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis

from codec.errors import Cancelled
from core.broker import connect_redis
from core.describing.budget import Budget, Reservation
from core.logging import get_logger
from core.settings import BrokerSettings
from models.base import new_id

_log = get_logger(__name__)

_SCRIPT = (Path(__file__).parent / "rate_limit.lua").read_text()

WINDOW = timedelta(minutes=1)

CLOCK_MARGIN = timedelta(seconds=2)
"""Between a turn and the request's arrival lie a busy process and a network, and not always the same time. A turn
counts for this much longer than the window, so that the server, by its own clock, never sees more than the limit."""

_LOOK_SECONDS = 0.2
"""How often a waiting caller looks whether it should stop."""

_LONGEST_PAUSE_SECONDS = 3600.0
"""A server that asks for more is asked again after this."""


class RedisRateLimiter:
    """Waits for turns; one for a process, called from many threads. The codec's Pace.

    While Redis is away nobody knows what the others send: with a limit set nothing is sent until it is back, without
    one only the pauses that this process was told of are kept. When Redis comes back empty, a whole window goes by.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        name: str,
        *,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        ledger: Budget | None = None,
        window: timedelta = WINDOW,
        margin: timedelta = CLOCK_MARGIN,
    ) -> None:
        """`name` says whose limits these are, such as a server's address and a model's name; 0 is no limit."""
        self._redis = connect_redis(broker)
        self._script = self._redis.register_script(_SCRIPT)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._keys = [f"misc:pace:{digest}:{part}" for part in ("turns", "tokens", "state")]
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._window_ms = round((window + margin).total_seconds() * 1000)
        # Whoever comes later than this for its turn, since its process was suspended, takes another one.
        self._tolerance_ms = round(margin.total_seconds() * 1000 / 2)
        self._ledger = ledger
        self._generation = ""
        self._paused_until = 0.0

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "Turn":
        """Wait for the turn of one request of about `tokens` tokens and at most `cost`.

        Raises BudgetExhausted when the cost would pass the spending cap, Cancelled when told to stop, and
        DatabaseUnavailable when the cap cannot be asked about.
        """
        if self._ledger is not None:
            # Before the wait, which may be long: a request that cannot be paid needs no turn.
            self._ledger.check(cost)
        reserved: Reservation | None = None
        try:
            while True:
                turn_id = self._take(tokens, cancelled)
                try:
                    if self._ledger is not None and reserved is None:
                        reserved = self._ledger.reserve(cost, cancelled)
                    if self._begin(turn_id, cancelled):
                        return Turn(self, turn_id, reserved)
                except BaseException:
                    self._drop(turn_id)
                    raise
        except BaseException:
            if reserved is not None and self._ledger is not None:
                self._ledger.settle(reserved, 0.0)
            raise

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for this long: the server said so."""
        seconds = min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        self._tell("pause", str(round(seconds * 1000)))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _take(self, tokens: int, cancelled: Callable[[], bool]) -> str:
        """Be given a turn, and wait until it has come; returns its id."""
        turn_id = new_id("trn")
        _sleep(self._paused_until - time.monotonic(), cancelled)
        told = self._ask(
            cancelled,
            "take",
            turn_id,
            str(max(0, tokens)),
            str(self._window_ms),
            str(self._requests),
            str(self._tokens),
            self._generation,
            new_id("gen"),
        )
        if told is None:
            return turn_id
        wait_ms, self._generation = int(told[0]), str(told[1])
        try:
            _sleep(wait_ms / 1000, cancelled)
        except Cancelled:
            self._drop(turn_id)
            raise
        return turn_id

    def _begin(self, turn_id: str, cancelled: Callable[[], bool]) -> bool:
        """Whether to send now; False when the turn went by, or a pause began, and another turn is needed."""
        while True:
            told = self._ask(cancelled, "begin", turn_id, str(self._tolerance_ms))
            if told is None or int(told) == 0:
                return True
            if int(told) < 0:
                return False
            _sleep(int(told) / 1000, cancelled)

    def _ask(self, cancelled: Callable[[], bool], *arguments: str) -> Any:
        """What the script answers; None for "go on" when Redis is away and there is no limit to keep."""
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

    def _drop(self, turn_id: str) -> None:
        self._tell("drop", turn_id)

    def _tell(self, *arguments: str) -> None:
        """Say something that may be lost: then a turn is wasted, or a pause is kept by this process alone."""
        try:
            self._script(keys=self._keys, args=list(arguments))
        except (redis.RedisError, OSError) as error:
            _log.warning("pace_not_told", what=arguments[0], error=str(error))


class Turn:
    """One request's share of the limits. The codec's Reservation."""

    def __init__(self, pace: RedisRateLimiter, turn_id: str, reserved: Reservation | None) -> None:
        self._pace, self._turn_id, self._reserved = pace, turn_id, reserved

    def settle(self, tokens: int, cost: float) -> None:
        """The request was answered, and this is what it truly used."""
        self._pace._tell("settle", self._turn_id, str(max(0, tokens)))
        self._pay(cost)

    def cancel(self) -> None:
        """The request used nothing that is paid for; its turn stays taken."""
        self._pay(0.0)

    def _pay(self, cost: float) -> None:
        if self._reserved is not None and self._pace._ledger is not None:
            self._pace._ledger.settle(self._reserved, cost)


def _sleep(seconds: float, cancelled: Callable[[], bool]) -> None:
    """Sleep, if there is any time to; raises Cancelled soon after somebody asks to stop."""
    until = time.monotonic() + seconds
    if cancelled():
        raise Cancelled("Stopped while waiting for a turn at the language model.")
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
        if cancelled():
            raise Cancelled("Stopped while waiting for a turn at the language model.")
