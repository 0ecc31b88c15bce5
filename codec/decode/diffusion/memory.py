"""How much memory there is for a request, and when it ran out. Decides nothing about tiles."""

import os
from pathlib import Path

import torch

_SHARE = 0.7
"""Of the free memory that one call of a network may take. The rest is for other requests and for what allocators
cannot use; the estimates of a stage's need are some percent too high already."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

_EXHAUSTED = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How PyTorch's plain RuntimeErrors begin that mean the same as OutOfMemoryError."""


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on `device` now, the cached blocks of PyTorch's own allocator included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_host_bytes()


def free_host_bytes() -> int:
    """Main memory that can be had without swapping, and that the process's control group allows."""
    # macOS tells no free pages, only how many there are.
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    free = os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    if _MEMINFO.is_file():
        # Pages that merely cache files can be had too.
        fields = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else free
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (allowed := limit.read_text().strip()).isdigit():
        free = min(free, max(0, int(allowed) - int(used.read_text()) + _cached_bytes(_CGROUP / "memory.stat")))
    return free


def _cached_bytes(statistics: Path) -> int:
    """What a control group's pages of files take, which the kernel gives up before it refuses memory."""
    if not statistics.is_file():
        return 0
    fields = dict(line.split() for line in statistics.read_text().splitlines())
    return int(fields.get("active_file", 0)) + int(fields.get("inactive_file", 0))


def call_budget_bytes(device: torch.device) -> int:
    """What one call of a network may take on `device`."""
    return int(_SHARE * free_bytes(device))


def is_exhaustion(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in any of the ways in which it is said."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _EXHAUSTED)


def release(device: torch.device) -> None:
    """Give cached blocks back, so that others, or differently sized pieces, can have them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
