"""Packs and unpacks streams in processes of their own. Run as a module it is such a process.

The coders are Python, and a process runs Python on one core at a time: beside the threads that wait for a model and
hold pictures they make use of the other cores. A coder ends when its input does, so none outlives its parent, however
that went.
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
from typing import IO, Any

from codec.bitstream import Stream, pack, unpack
from codec.bitstream.container import Packed
from codec.errors import Cancelled, CodecError
from core.logging import get_logger

_log = get_logger(__name__)

_LENGTH = struct.Struct("<Q")
_GLANCE_SECONDS = 0.2

_Question = Stream | bytes
_Answer = Packed | Stream | CodecError


class PackPool:
    """A number of coding processes, started when they are first needed; called from many threads."""

    def __init__(self, count: int) -> None:
        self._idle: queue.LifoQueue[_Coder | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._closed = threading.Event()

    def pack(self, stream: Stream, cancelled: Callable[[], bool]) -> Packed:
        """As `codec.bitstream.pack`; raises Cancelled besides."""
        packed = self._ask(stream, cancelled)
        assert isinstance(packed, Packed)
        return packed

    def unpack(self, data: bytes, cancelled: Callable[[], bool]) -> Stream:
        """The stream that `codec.bitstream.unpack` reads; raises Cancelled besides."""
        stream = self._ask(data, cancelled)
        assert isinstance(stream, Stream)
        return stream

    def close(self) -> None:
        """End the processes; one that is at work ends with its answer."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                coder = self._idle.get_nowait()
                if coder is not None:
                    coder.close()

    def _ask(self, question: _Question, cancelled: Callable[[], bool]) -> Packed | Stream:
        coder = self._take(cancelled)
        try:
            if coder is None:
                coder = _Coder()
            answer = coder.ask(question)
        except OSError as error:
            # It was killed, or cannot be started here: the work is done in this process, and the next call tries anew.
            _log.warning("coder_lost", error=str(error))
            if coder is not None:
                coder.close()
            coder = None
            answer = _answer(question)
        finally:
            self._give_back(coder)
        if isinstance(answer, CodecError):
            raise answer
        return answer

    def _take(self, cancelled: Callable[[], bool]) -> "_Coder | None":
        while True:
            try:
                return self._idle.get(timeout=_GLANCE_SECONDS)
            except queue.Empty:
                if cancelled():
                    raise Cancelled("Stopped while waiting for a process that codes the stream.") from None

    def _give_back(self, coder: "_Coder | None") -> None:
        if coder is not None and self._closed.is_set():
            coder.close()
            coder = None
        self._idle.put(coder)


class _Coder:
    """One process, which answers one question at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask(self, question: _Question) -> _Answer:
        """Its answer; raises OSError when it is gone."""
        _send(self._questions, question)
        answer: _Answer | None = _receive(self._answers)
        if answer is None:
            raise BrokenPipeError("a coder ended in the middle of its work")
        return answer

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


def _send(pipe: IO[bytes], message: _Question | _Answer) -> None:
    data = pickle.dumps(message)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next message; None when there will be no other. Only parent and child hold the pipe's ends."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return pickle.loads(data) if len(data) == length else None


def _answer(question: _Question) -> _Answer:
    try:
        return pack(question) if isinstance(question, Stream) else unpack(question).stream
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
    while (question := _receive(sys.stdin.buffer)) is not None:
        _send(answers, _answer(question))


if __name__ == "__main__":
    main()
