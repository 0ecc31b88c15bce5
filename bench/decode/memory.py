"""The most memory that a block took: of a GPU what its allocator gave, on a processor what the process really held."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """`bytes` at most during the block, `grown_bytes` of them more than before it."""

    bytes: int = 0
    grown_bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the memory of a block; the figures are there when it has ended."""
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
    else:
        # What was only kept for later is given back first.
        ctypes.CDLL(None).malloc_trim(0)
        # Writing 5 sets the process's high-water mark back to what it holds now (proc(5)).
        _CLEAR.write_text("5")
        before = _status_bytes("VmRSS")
        yield peak
        peak.bytes = _status_bytes("VmHWM")
    peak.grown_bytes = peak.bytes - before


def _status_bytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024
