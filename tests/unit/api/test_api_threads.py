"""Calls that wait for a store which hangs."""

import asyncio
import threading
import time

import pytest
from starlette.concurrency import run_in_threadpool

from api.threads import StorageThreads
from core.errors import StorageUnavailable


def test_hanging_store_keeps_no_thread_of_others_and_refuses_who_would_wait_too_long() -> None:
    release = threading.Event()

    async def _use() -> float:
        threads = StorageThreads()
        hanging = [asyncio.create_task(threads.run(release.wait, 30)) for _ in range(32 + 64)]
        await asyncio.sleep(0.2)
        with pytest.raises(StorageUnavailable):
            await threads.run(time.sleep, 0)
        started = time.monotonic()
        await run_in_threadpool(time.sleep, 0)
        waited_seconds = time.monotonic() - started
        release.set()
        assert all(await asyncio.gather(*hanging))
        await threads.run(time.sleep, 0)
        return waited_seconds

    assert asyncio.run(_use()) < 1
