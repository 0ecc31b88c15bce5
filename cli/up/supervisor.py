"""Child processes that are started, watched, restarted and ended together. Knows nothing of what they do."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cli.up import process_guard

WANTS_RESTART = 75
"""Exit status (EX_TEMPFAIL) by which a child asks to be started again at once."""

_LOG_LIMIT_BYTES = 5 * 1024 * 1024
"""Size at which a log is set aside; one older part is kept, so a child's logs take twice this at most."""

_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.5, 15.0
"""Waits before a restart; they double, so that a child that cannot run does not eat a core."""

_SETTLED_SECONDS = 30.0
"""A child that lived for this long has recovered: its next death is its first again."""

_POLL_SECONDS = 0.1


@dataclass
class Child:
    """One process that should be running, and how that has gone so far."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    deaths_in_a_row: int = 0
    deaths: int = 0
    exits: list[int] = field(default_factory=list)


class Supervisor:
    """Keeps children alive from one thread, each in a process group of its own so that a Ctrl-C at the terminal
    reaches this process only and the order of the end is ours."""

    def __init__(self, *, on_event: Callable[[str, Child], None] | None = None, keep_open: Sequence[int] = ()) -> None:
        """`on_event` is told "restarted" with the child, from the thread that watches; its OSErrors are ignored.

        The file descriptors in `keep_open`, such as that of a lock, stay open until every child has ended, even when
        this process is killed.
        """
        self._children: dict[str, Child] = {}
        self._on_event = on_event
        self._keep_open = tuple(keep_open)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._guard: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the guard and begin to watch; children can be added from now on."""
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", process_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._keep_open,
            text=True,
        )
        self._thread.start()

    def add(self, child: Child) -> None:
        """Start a child and keep it running; raises OSError when there is no such program."""
        with self._lock:
            child.log_path.parent.mkdir(parents=True, exist_ok=True)
            self._children[child.name] = child
            self._launch(child)

    def get(self, name: str) -> Child:
        """The child of this name."""
        return self._children[name]

    @property
    def children(self) -> list[Child]:
        """All children, in the order in which they were added."""
        with self._lock:
            return list(self._children.values())

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run now."""
        return {
            child.name: child.process.pid
            for child in self.children
            if child.process is not None and child.process.poll() is None
        }

    def stop(self, last: Sequence[str] = (), grace_seconds: float = process_guard.GRACE_SECONDS) -> list[str]:
        """End every child: SIGTERM, then SIGKILL after `grace_seconds`; those named in `last` after the others.

        Returns the names of those that had to be killed. Safe to call twice.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with self._lock:
            first_ones = [child for child in self.children if child.name not in last]
            killed = self._end(first_ones, grace_seconds)
            # What the others lean on has nothing left to do by then.
            killed += self._end([child for child in self.children if child.name in last], 1.0)
            if self._guard is not None and self._guard.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._guard.stdin.close()
                self._guard.wait(timeout=process_guard.GRACE_SECONDS + 2)
                self._guard = None
        return killed

    def _launch(self, child: Child) -> None:
        with child.log_path.open("ab") as log:
            child.process = subprocess.Popen(
                child.command,
                env=dict(child.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What it writes is pictures and descriptions: for this user only.
                umask=0o077,
            )
        child.started_at, child.restart_at = time.monotonic(), None
        self._tell_guard("+", child.process.pid)

    def _tell_guard(self, sign: str, group: int) -> None:
        pipe: IO[str] | None = self._guard.stdin if self._guard is not None else None
        if pipe is not None:
            # A guard that was killed cannot be told anything; the children still end with `stop`.
            with contextlib.suppress(BrokenPipeError):
                pipe.write(f"{sign}{group}\n")
                pipe.flush()

    def _watch(self) -> None:
        rounds = 0
        while not self._stopping.wait(_POLL_SECONDS):
            rounds += 1
            with self._lock:
                for child in self._children.values():
                    # A full disk or a closed terminal must not end the watching; what failed is tried again later.
                    try:
                        self._look_after(child)
                    except OSError:
                        if child.process is None:
                            child.restart_at = time.monotonic() + _LAST_DELAY_SECONDS
                    if rounds % 20 == 0:
                        with contextlib.suppress(OSError):
                            _limit_log(child.log_path)

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            if child.restart_at is not None and time.monotonic() >= child.restart_at:
                self._launch(child)
                if self._on_event is not None:
                    self._on_event("restarted", child)
            return
        status = child.process.poll()
        if status is None:
            return
        # What it started itself must not outlive it.
        _signal_group(child.process.pid, signal.SIGKILL)
        self._tell_guard("-", child.process.pid)
        child.process = None
        child.deaths += 1
        child.exits.append(status)
        if time.monotonic() - child.started_at > _SETTLED_SECONDS:
            child.deaths_in_a_row = 0
        child.deaths_in_a_row += 1
        delay = min(_FIRST_DELAY_SECONDS * 2 ** (child.deaths_in_a_row - 1), _LAST_DELAY_SECONDS)
        if status == WANTS_RESTART and child.deaths_in_a_row == 1:
            delay = 0.0
        child.restart_at = time.monotonic() + delay

    def _end(self, children: Sequence[Child], grace_seconds: float) -> list[str]:
        running = [child for child in children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.poll() is None:
                _signal_group(child.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        killed = []
        for child in running:
            process = child.process
            if process is None:
                continue
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                killed.append(child.name)
            _signal_group(process.pid, signal.SIGKILL)
            process.wait(timeout=5)
            self._tell_guard("-", process.pid)
            child.process = None
        return killed


def last_lines(path: Path, count: int = 15) -> list[str]:
    """The end of a log, or nothing when there is none."""
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 16_384))
        return log.read().decode(errors="replace").splitlines()[-count:]


def _limit_log(path: Path) -> None:
    """Copy a full log aside and empty it. Children append, so they go on at the new end of the same file."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        shutil.copyfile(path, path.with_suffix(path.suffix + ".1"))
        os.truncate(path, 0)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
