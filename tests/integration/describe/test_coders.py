"""Streams are read back in processes that end with their parent and are replaced when they die."""

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
from workers.encode.readers import StreamReaders

STREAM = Stream(8, 8, PixelCoarse(1, 1, 3, b"\x01\x02\x03"), Texts((), "a boat"), None, "lite")


def _never() -> bool:
    return False


@pytest.fixture
def readers() -> Iterator[StreamReaders]:
    readers = StreamReaders(1)
    yield readers
    readers.close()


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "workers.encode.readers" in child.cmdline()}


def test_reads_what_was_packed_and_tells_what_is_damaged(readers: StreamReaders) -> None:
    data = pack(STREAM).data
    assert readers.read(data, _never) == STREAM
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(StreamCorrupt):
        readers.read(damaged, _never)
    assert readers.read(data, _never) == STREAM


def test_reader_that_was_killed_is_replaced(readers: StreamReaders) -> None:
    data = pack(STREAM).data
    readers.read(data, _never)
    (victim,) = _children()
    os.kill(victim, signal.SIGKILL)
    assert readers.read(data, _never) == STREAM
    assert readers.read(data, _never) == STREAM
    assert len(_children() - {victim}) == 1


def test_reader_ends_when_its_parent_is_killed() -> None:
    program = (
        "import time\nfrom codec.bitstream import pack\nfrom workers.encode.readers import StreamReaders\n"
        "from tests.integration.describe.test_stream_readers import STREAM\n"
        "readers = StreamReaders(1)\nreaders.read(pack(STREAM).data, lambda: False)\n"
        "print(readers._idle.get()._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    reader = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while _lives(reader):
        assert time.monotonic() < deadline, "the reader outlived its parent"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
