"""How much memory a process took at most, beside what it had, and a bound for what it may take."""

import contextlib
import os
import resource
from pathlib import Path

_ROOM_BYTES = 1 << 30


def bound_memory(room_bytes: int = _ROOM_BYTES) -> None:
    """Let this process have so much address space beside what is in use; more raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room_bytes, resource.RLIM_INFINITY))


class PeakMemory:
    """The most that a process has had since this was made, beside what it had then; 0 where nothing tells."""

    def __init__(self, pid: int | None = None) -> None:
        self._folder = Path(f"/proc/{os.getpid() if pid is None else pid}")
        with contextlib.suppress(OSError):
            (self._folder / "clear_refs").write_text("5")
        self._before = self._status("VmRSS")

    def bytes(self) -> int:
        """Raises OSError when the process has ended."""
        return max(0, self._status("VmHWM") - self._before)

    def _status(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        return 0
