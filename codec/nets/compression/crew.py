"""Threads that each compute on a single core, for work that is cut into pieces here rather than inside PyTorch.

PyTorch's own threads meet after every operation. With many small operations that costs more than it brings, above all
when other processes want the cores too, and how a result rounds may then depend on how many threads there are.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch

T = TypeVar("T")

Beside = Callable[[Callable[[], Any]], Callable[[], Any]]
"""Begins some work and gives back what waits for its result."""

_STARTING = threading.Lock()


def in_pieces(work: Callable[[int], None], pieces: Iterable[int]) -> None:
    """Do all pieces, as many at once as PyTorch may use threads. Raises the first error of any."""
    workers = _crew().workers
    for done in [workers.submit(_infer, work, piece) for piece in pieces]:
        done.result()


def alone(work: Callable[[Beside], T]) -> T:
    """The result of work whose steps depend on each other, computed on a single core.

    It is given a way to have something done on another core meanwhile, where PyTorch may use more than one.
    """
    crew = _crew()

    def beside(other: Callable[[], Any]) -> Callable[[], Any]:
        return crew.workers.submit(_infer, other).result

    return crew.leaders.submit(_infer, work, beside if crew.size > 1 else once_asked_for).result()


def once_asked_for(work: Callable[[], Any]) -> Callable[[], Any]:
    """Does the work only when its result is wanted."""
    return work


def _infer(work: Callable[..., T], *arguments: object) -> T:
    # Inference mode belongs to a thread, so the one that waits cannot set it.
    with torch.inference_mode():
        return work(*arguments)


class _Crew:
    """Workers never wait for each other. Leaders wait for workers, so they are not of their number."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.workers, self.leaders = _start(size), _start(size)


def _crew() -> _Crew:
    with _STARTING:
        # A forked process has none of its parent's threads, so it gets its own.
        return _crew_of(torch.get_num_threads(), os.getpid())


@lru_cache(maxsize=4)
def _crew_of(size: int, process: int) -> _Crew:
    return _Crew(size)


def _start(size: int) -> ThreadPoolExecutor:
    all_here = threading.Barrier(size + 1)

    def begin() -> None:
        # Asked for first, because a thread takes over the common setting when it asks for the first time.
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_here.wait()

    pool = ThreadPoolExecutor(size, thread_name_prefix="coarse", initializer=begin)
    for _ in range(size):
        pool.submit(int)
    all_here.wait()
    # What a thread sets for itself, others would begin with, too.
    torch.set_num_threads(size)
    return pool
