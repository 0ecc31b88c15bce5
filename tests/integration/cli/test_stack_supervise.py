"""Children are restarted, ended and, when their parent is killed, not left behind."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cli.up import supervisor as supervisor_module
from cli.up.supervisor import WANTS_RESTART, Child, Supervisor, last_lines

_SLEEP = "import time; time.sleep(60)"
_STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    started = Supervisor()
    started.start()
    yield started
    started.stop(grace_seconds=0.5)


def _child(folder: Path, name: str, code: str) -> Child:
    return Child(name, [sys.executable, "-S", "-c", code], dict(os.environ), folder / f"{name}.log")


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_killed_child_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.add(_child(tmp_path, "one", _SLEEP))
    first = supervisor.pids["one"]

    os.kill(first, signal.SIGKILL)

    _wait_for(lambda: supervisor.pids.get("one", first) != first)
    assert supervisor.get("one").exits == [-signal.SIGKILL]


def test_child_that_asks_for_a_restart_gets_it_without_delay(supervisor: Supervisor, tmp_path: Path) -> None:
    marker = tmp_path / "ran-once"
    code = (
        f"import pathlib, sys, time; m = pathlib.Path({str(marker)!r})\n"
        f"if m.exists(): time.sleep(60)\nm.touch(); sys.exit({WANTS_RESTART})"
    )
    started = time.monotonic()
    supervisor.add(_child(tmp_path, "one", code))

    _wait_for(lambda: supervisor.get("one").exits == [WANTS_RESTART] and "one" in supervisor.pids)

    assert time.monotonic() - started < 2.0


def test_child_that_cannot_run_is_started_with_growing_waits(supervisor: Supervisor, tmp_path: Path) -> None:
    started = time.monotonic()
    supervisor.add(_child(tmp_path, "bad", "print('no config'); raise SystemExit(3)"))

    # Started at 0, 0.5 and 1.5 s, and later by as much as a busy machine takes; the fourth start is 2 s after that.
    _wait_for(lambda: len(supervisor.get("bad").exits) >= 3)
    assert time.monotonic() - started >= 1.5
    time.sleep(1.2)
    assert supervisor.get("bad").exits == [3, 3, 3]
    assert last_lines(tmp_path / "bad.log") == ["no config"] * 3


def test_full_disk_and_closed_terminal_do_not_end_the_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supervisor_module, "_limit_log", _fail)
    monkeypatch.setattr(supervisor_module, "_LAST_DELAY_SECONDS", 0.5)
    supervisor = Supervisor(on_event=_fail)
    supervisor.start()
    try:
        one = _child(tmp_path, "one", _SLEEP)
        supervisor.add(one)
        path, one.log_path = one.log_path, tmp_path / "missing" / "one.log"
        os.kill(supervisor.pids["one"], signal.SIGKILL)
        # By then it was tried twice, and the logs were looked at.
        time.sleep(2.2)
        assert supervisor.pids == {} and one.restart_at is not None

        one.log_path = path
        _wait_for(lambda: "one" in supervisor.pids)
        os.kill(supervisor.pids["one"], signal.SIGKILL)
        _wait_for(lambda: one.deaths == 2 and "one" in supervisor.pids)
    finally:
        supervisor.stop(grace_seconds=0.5)


def test_deaf_child_is_killed_after_the_grace_period(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.add(_child(tmp_path, "deaf", _STUBBORN))
    supervisor.add(_child(tmp_path, "good", _SLEEP))
    _wait_for(lambda: last_lines(tmp_path / "deaf.log") == ["deaf"])
    pids = list(supervisor.pids.values())

    started = time.monotonic()
    killed = supervisor.stop(grace_seconds=0.5)

    assert killed == ["deaf"]
    assert time.monotonic() - started < 2.0
    assert not any(_runs(pid) for pid in pids)


def test_grandchildren_end_with_their_parent(supervisor: Supervisor, tmp_path: Path) -> None:
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', {_SLEEP!r}]); print(p.pid, flush=True); p.wait()"  # noqa: E501
    supervisor.add(_child(tmp_path, "parent", code))
    _wait_for(lambda: bool(last_lines(tmp_path / "parent.log")))
    grandchild = int(last_lines(tmp_path / "parent.log")[0])

    os.kill(supervisor.pids["parent"], signal.SIGKILL)

    _wait_for(lambda: not _runs(grandchild))


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, pathlib\nfrom cli.up.supervisor import Child, Supervisor\n"
        "s = Supervisor(); s.start()\n"
        f"s.add(Child('one', [sys.executable, '-S', '-c', {_SLEEP!r}], dict(os.environ), "
        f"pathlib.Path({str(tmp_path)!r}) / 'one.log'))\n"
        "print(s.pids['one'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _runs(child)
        parent.kill()

    _wait_for(lambda: not _runs(child))


def test_full_log_is_set_aside_while_the_child_goes_on_writing(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_LOG_LIMIT_BYTES", 4096)
    code = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.01)"
    supervisor.add(_child(tmp_path, "talker", code))

    _wait_for((tmp_path / "talker.log.1").exists)
    time.sleep(0.2)

    # No hole of zeros where the old end was: the file was appended to after it was emptied.
    assert (tmp_path / "talker.log").read_bytes()[:99] == b"x" * 99
