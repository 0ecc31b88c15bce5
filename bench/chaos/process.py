"""One process of the service with what faults reach inside it: `python -m bench.chaos.process FILE MODULE ARGUMENT...`.

FILE holds the seconds by which the process's clock is ahead, and may change while it runs. Wall clocks that the service
and the signatures of its requests read are set; monotonic time, as on a machine whose clock is set, goes on. A picture
whose name begins with "poison" kills the encode worker that works at it.
"""

import contextlib
import datetime
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

POISON = "poison"
"""What the names of pictures begin with that kill."""

_LOOK_SECONDS = 0.2


class _Offset:
    """The seconds in the file, looked up a few times a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds = 0.0
        self._looked_at = -_LOOK_SECONDS

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            # Not written yet, or being written: what was last read holds on.
            with contextlib.suppress(OSError, ValueError):
                self._seconds = float(self._file.read_text() or 0)
        return self._seconds


def main() -> None:
    """Prepare the process, then be the module."""
    file, module, *arguments = sys.argv[1:]
    _set_clocks(_Offset(Path(file)))
    if arguments[:1] == ["encode"]:
        _let_poison_kill()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _set_clocks(offset: _Offset) -> None:
    import botocore.compat

    import models.base

    wall, wall_ns = time.time, time.time_ns

    def _time() -> float:
        return wall() + offset()

    def _time_ns() -> int:
        return wall_ns() + int(offset() * 1e9)

    class _Datetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.fromtimestamp(_time(), tz)

    def _current_datetime(remove_tzinfo: bool = True) -> datetime.datetime:
        now = _Datetime.now(datetime.UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    time.time, time.time_ns = _time, _time_ns
    # What `utc_now` there looks at; the function itself was taken by name already.
    vars(models.base)["datetime"] = _Datetime
    # Taken by name when the module that signs requests is imported, which is later.
    botocore.compat.get_current_datetime = _current_datetime


def _let_poison_kill() -> None:
    from workers.encode import task

    encode = vars(task)["encode"]

    def _encode(*arguments: Any, source_name: str | None = None, **options: Any) -> Any:
        if (source_name or "").startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(*arguments, source_name=source_name, **options)

    vars(task)["encode"] = _encode


if __name__ == "__main__":
    main()
