"""The one policy by which requests to a language model's server are tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from codec.encode.describe.lmm.failures import PassingFailure, unavailable
from codec.errors import DescriberUnavailable
from codec.interruptible import wait

Result = TypeVar("Result")

_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 20.0
"""Bounds of the waits that no server asked for: a blip is over in the first, a restart of a server in the last."""


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015), or
    as long as the server asks for, if that is at most `longest_wait_seconds`."""

    attempts: int
    longest_wait_seconds: float

    def run(
        self, action: Callable[[], Result], cancelled: Callable[[], bool], pause: Callable[[float], None] | None = None
    ) -> Result:
        """The action's result; it is called again after each PassingFailure. `pause` hears what a server asked for.

        Raises DescriberUnavailable when trying again is not allowed any more, Cancelled, and what the action raises.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return action()
            except PassingFailure as error:
                failure = error
            seconds = self._wait_seconds(failure, tries)
            if failure.wait_seconds and pause is not None:
                pause(failure.wait_seconds)
            wait(seconds, cancelled, "Stopped while waiting to ask the language model again.")

    def _wait_seconds(self, failure: PassingFailure, tries: int) -> float:
        asked_seconds = failure.wait_seconds or 0.0
        if asked_seconds > self.longest_wait_seconds:
            raise DescriberUnavailable(
                f"{failure}; it asks to wait {asked_seconds:.0f} s, and {self.longest_wait_seconds:.0f} s are allowed."
            )
        if tries >= self.attempts:
            raise unavailable(failure, tries)
        backoff = random.uniform(0.0, min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(tries - 1, 16)))
        # All who have to wait come back at different moments, and none of them early.
        return asked_seconds + min(backoff, 1.0) if asked_seconds else backoff
