"""Reads streams in processes of their own, as proof that a decoder can. Run as a module it is such a process.

The coders are Python, and a process runs Python on one core at a time: reading back beside the threads that encode
makes use of the other cores. A reader ends when its input does, so none outlives its parent, however that went.
"""

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

from codec.bitstream import Stream, unpack
from codec.errors import Cancelled, CodecError
from core.logging import get_logger

_log = get_logger(__name__)

_LENGTH = struct.Struct("<Q")
_GLANCE_SECONDS = 0.2


class StreamReaders:
    """A number of reading processes, started when they are first needed; called from many threads."""

    def __init__(self, count: int) -> None:
        self._idle: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._closed = threading.Event()

    def read(self, data: bytes, cancelled: Callable[[], bool]) -> Stream:
        """What `unpack` reads of a file; raises what it raises, and Cancelled."""
        reader = self._take(cancelled)
        try:
            if reader is None:
                reader = _Reader()
            answer = reader.read(data)
        except OSError as error:
            # It was killed, or cannot be started here: the work is done in this process, and the next call tries anew.
            _log.warning("stream_reader_lost", error=str(error))
            if reader is not None:
                reader.close()
            reader = None
            answer = unpack(data).stream
        finally:
            self._give_back(reader)
        if isinstance(answer, CodecError):
            raise answer
        return answer

    def close(self) -> None:
        """End the processes; one that is reading ends with its answer."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                reader = self._idle.get_nowait()
                if reader is not None:
                    reader.close()

    def _take(self, cancelled: Callable[[], bool]) -> "_Reader | None":
        while True:
            try:
                return self._idle.get(timeout=_GLANCE_SECONDS)
            except queue.Empty:
                if cancelled():
                    raise Cancelled("Stopped while waiting to read the stream back.") from None

    def _give_back(self, reader: "_Reader | None") -> None:
        if reader is not None and self._closed.is_set():
            reader.close()
            reader = None
        self._idle.put(reader)


class _Reader:
    """One process, which answers one question at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def read(self, data: bytes) -> Stream | CodecError:
        """What it says of a file; raises OSError when it is gone."""
        _send(self._questions, data)
        answer = _receive(self._answers)
        if answer is None:
            raise BrokenPipeError("a stream reader ended in the middle of its work")
        read: Stream | CodecError = pickle.loads(answer)
        return read

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._questions.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """The next message; None when there will be no other."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return data if len(data) == length else None


def _answer(data: bytes) -> Stream | CodecError:
    try:
        return unpack(data).stream
    except CodecError as error:
        return error


def main() -> None:
    """Answer until the input ends."""
    # A terminal sends its signals to every process; this one ends with its parent, which may need its last answer.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever is printed by mistake must not land between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (data := _receive(sys.stdin.buffer)) is not None:
        _send(answers, pickle.dumps(_answer(data)))


if __name__ == "__main__":
    main()
