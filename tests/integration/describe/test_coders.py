"""Streams are coded in processes that end with their parent and are replaced when they die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from codec.bitstream import PixelCoarse, Stream, Texts, pack
from codec.errors import StreamCorrupt
from workers.encode.pack_pool import PackPool

STREAM = Stream(8, 8, PixelCoarse(1, 1, 3, b"\x01\x02\x03"), Texts((), "a boat"), None, "lite")


def _never() -> bool:
    return False


@pytest.fixture
def coders() -> Iterator[PackPool]:
    coders = PackPool(1)
    yield coders
    coders.close()


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "workers.encode.pack_pool" in child.cmdline()}


def test_codes_as_this_process_does_and_tells_what_is_damaged(coders: PackPool) -> None:
    assert coders.pack(STREAM, _never) == pack(STREAM)
    data = pack(STREAM).data
    assert coders.unpack(data, _never) == STREAM
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(StreamCorrupt):
        coders.unpack(damaged, _never)
    assert coders.unpack(data, _never) == STREAM


def test_coder_that_was_killed_is_replaced(coders: PackPool) -> None:
    data = pack(STREAM).data
    coders.unpack(data, _never)
    (victim,) = _children()
    os.kill(victim, signal.SIGKILL)
    assert coders.unpack(data, _never) == STREAM
    assert coders.unpack(data, _never) == STREAM
    assert len(_children() - {victim}) == 1


def test_coder_ends_when_its_parent_is_killed() -> None:
    program = (
        "import time\nfrom codec.bitstream import pack\nfrom workers.encode.pack_pool import PackPool\n"
        "from tests.integration.describe.test_coders import STREAM\n"
        "coders = PackPool(1)\ncoders.unpack(pack(STREAM).data, lambda: False)\n"
        "print(coders._idle.get()._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    coder = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while _lives(coder):
        assert time.monotonic() < deadline, "the coder outlived its parent"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
