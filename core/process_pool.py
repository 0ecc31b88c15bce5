"""Processes for work in Python, which runs on one core of a process at a time. They end with their parent, however it
ended, and one that dies takes nobody else's work along.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Self, TypeVar

from codec.errors import Cancelled
from codec.interruptible import GLANCE_SECONDS
from core.errors import ProcessLost

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")


def _never() -> bool:
    return False


class ProcessPool:
    """Up to `count` processes, started when they are first needed; called from many threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        # Its writing end is open in this process only: children read the end of the file when it is gone.
        self._child_end, self._parent_end = multiprocessing.Pipe(duplex=False)
        self._executor: ProcessPoolExecutor | None = None
        self._is_closed = False
        self._lock, self._alone = threading.Lock(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def call(
        self, function: Callable[[ArgumentT], ResultT], argument: ArgumentT, cancelled: Callable[[], bool] = _never
    ) -> ResultT:
        """Return `function(argument)` as a process computed it, or raise what it raised.

        `function` has to be importable by name. When a process dies, whose work it was is not known: every call that
        was under way is repeated by itself, and the one whose process dies again raises ProcessLost. Raises Cancelled
        soon after `cancelled` says so or the pool is closed; a computation under way then ends unheard.
        """
        executor = self._shared_executor()
        try:
            return self._result(executor, function, argument, cancelled)
        except BrokenProcessPool:
            self._discard(executor)
        with self._alone:
            executor = self._new_executor(1)
            try:
                return self._result(executor, function, argument, cancelled)
            except BrokenProcessPool as error:
                raise ProcessLost("A process died twice at the same work; memory may be short.") from error
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the processes at once, whatever they compute."""
        self._is_closed = True
        self._parent_end.close()
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)

    def _shared_executor(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = self._new_executor(self._count)
            return self._executor

    def _discard(self, executor: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is executor:
                self._executor = None

    def _new_executor(self, count: int) -> ProcessPoolExecutor:
        # Spawned, since a fork would copy the locks of this process's threads and whatever they hold.
        return ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_begin_child, initargs=(self._child_end,)
        )

    def _result(
        self,
        executor: ProcessPoolExecutor,
        function: Callable[[ArgumentT], ResultT],
        argument: ArgumentT,
        cancelled: Callable[[], bool],
    ) -> ResultT:
        try:
            future: Future[ResultT] = executor.submit(function, argument)
            while not wait([future], GLANCE_SECONDS).done:
                if cancelled():
                    future.cancel()
                    raise Cancelled("Stopped while a process was at work.")
            return future.result()
        except OSError as error:
            raise ProcessLost(f"A process cannot be started: {error}") from error
        except RuntimeError as error:
            # A closed pool is a broken one, or one that takes nothing any more.
            if self._is_closed:
                raise Cancelled("Stopped, since its processes were ended.") from error
            raise


def _begin_child(child_end: Connection) -> None:
    # A terminal interrupts every process of a group; this one ends with its parent, which may need its last result.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(child_end,), daemon=True).start()


def _end_with_parent(child_end: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        child_end.recv_bytes()
    os._exit(1)
