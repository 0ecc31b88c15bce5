"""Uploads that come faster than they can be taken in."""

import asyncio
import time
from datetime import timedelta

import pytest

from api.turns import UploadTurns
from core.errors import Overloaded


def test_upload_whose_turn_does_not_come_soon_is_refused_and_the_next_ones_are_taken() -> None:
    async def _use() -> float:
        turns = UploadTurns(timedelta(seconds=0.1), at_once=2)
        release = asyncio.Event()

        async def _work() -> None:
            async with turns.taken():
                await release.wait()

        working = [asyncio.create_task(_work()) for _ in range(2)]
        await asyncio.sleep(0)
        started = time.monotonic()
        with pytest.raises(Overloaded):
            async with turns.taken():
                pass
        waited = time.monotonic() - started
        release.set()
        await asyncio.gather(*working)
        async with turns.taken():
            return waited

    assert 0.1 <= asyncio.run(_use()) < 2


def test_turn_of_work_that_fails_is_free_again() -> None:
    async def _use() -> None:
        turns = UploadTurns(timedelta(seconds=0.1), at_once=1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with turns.taken():
                    raise ZeroDivisionError

    asyncio.run(_use())
