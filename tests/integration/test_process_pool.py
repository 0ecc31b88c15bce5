"""Work is done in processes that end with their parent and are replaced when they die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from codec.bitstream import PixelCoarse, Stream, Texts, pack
from codec.errors import Cancelled, StreamCorrupt
from core.errors import ProcessLost
from core.process_pool import ProcessPool
from workers.encode.pack_pool import PackPool

STREAM = Stream(8, 8, PixelCoarse(1, 1, 3, b"\x01\x02\x03"), Texts((), "a boat"), None, "lite")


def _never() -> bool:
    return False


@pytest.fixture
def processes() -> Iterator[ProcessPool]:
    with ProcessPool(2) as processes:
        yield processes


def process_id(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die_below_zero(number: float) -> float:
    time.sleep(0.2)
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def modules_loaded(prefixes: list[str]) -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] in prefixes)


def test_packs_as_this_process_does_and_says_what_is_damaged() -> None:
    packer = PackPool(1)
    assert packer.pack(STREAM, _never) == pack(STREAM)
    data = pack(STREAM).data
    assert packer.unpack(data, _never) == STREAM
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(StreamCorrupt):
        packer.unpack(damaged, _never)
    assert packer.unpack(data, _never) == STREAM
    packer.close()


def test_idle_process_that_was_killed_is_replaced(processes: ProcessPool) -> None:
    victim = processes.call(process_id, 0.0)
    os.kill(victim, signal.SIGKILL)
    assert processes.call(process_id, 0.0) not in (victim, os.getpid())
    assert processes.call(process_id, 0.0) not in (victim, os.getpid())


def test_work_that_kills_its_process_fails_alone(processes: ProcessPool) -> None:
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(processes.call, die_below_zero, number) for number in (1.0, 2.0, -1.0, 3.0, 4.0, 5.0)]
        errors = [type(future.exception()) for future in futures]
        assert errors == [type(None)] * 2 + [ProcessLost] + [type(None)] * 3
        assert [future.result() for future in futures if future.exception() is None] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_cancelled_call_does_not_wait_for_its_process(processes: ProcessPool) -> None:
    started = time.monotonic()
    with pytest.raises(Cancelled):
        processes.call(process_id, 60.0, lambda: True)
    processes.close()
    assert time.monotonic() - started < 5


def test_closing_ends_processes_at_their_work_and_calls_that_wait_for_them() -> None:
    processes = ProcessPool(1)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(processes.call, process_id, 60.0) for _ in range(2)]
        time.sleep(1.0)
        started = time.monotonic()
        processes.close()
        assert [type(call.exception(10)) for call in calls] == [Cancelled, Cancelled]
    assert time.monotonic() - started < 5


def test_processes_import_no_heavy_library(processes: ProcessPool) -> None:
    assert processes.call(modules_loaded, ["torch", "scipy", "diffusers", "celery", "sqlalchemy"]) == []


def test_processes_end_within_two_seconds_when_their_parent_is_killed() -> None:
    program = (
        "import threading\nfrom core.process_pool import ProcessPool\n"
        "from tests.integration.test_process_pool import process_id\n"
        "if __name__ == '__main__':\n"
        "    processes = ProcessPool(2)\n"
        "    for _ in range(2): threading.Thread(target=processes.call, args=(process_id, 0.5), daemon=True).start()\n"
        "    print(processes.call(process_id, 0.0), flush=True)\n"
        "    processes.call(process_id, 60.0)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=2)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
