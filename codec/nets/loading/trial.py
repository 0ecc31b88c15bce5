"""Reads a file of weights once, within bounds of memory and time, before it is taken in.

Run by `codec.weights.trial` as `python -m codec.nets.loading.trial FILE CPU_SECONDS`. Writes one line of JSON, with a
message where something is wrong, and no files. Where PyTorch is not installed only the file's frame is looked at, as
nothing here could read the rest.
"""

import contextlib
import json
import resource
import sys
import zipfile
from pathlib import Path

from codec.errors import WeightsCorrupt, WeightsError
from codec.weights.content import check_content

_ROOM_BYTES = 1 << 30
"""Beside the file itself, which is mapped: names, shapes, and numbers that lie across their own borders."""


_PIECE_BYTES = 1 << 20
_ENCRYPTED = 1
"""The bit of an entry's flags."""


def main() -> int:
    """Try the file; the status is 0 also for one that is refused."""
    path, cpu_seconds = Path(sys.argv[1]), int(sys.argv[2])
    for kind, most in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(kind, (most, most))
    answer = {}
    try:
        _bound(path, cpu_seconds)
        check_content(path)
        _check_sums(path)
        _read(path, cpu_seconds)
    except MemoryError:
        answer = {"message": f"{path} takes more memory to read than a file of its size may."}
    except WeightsError as error:
        answer = {"message": str(error)}
    except OSError as error:
        answer = {"message": f"{path} cannot be read: {error.strerror}."}
    sys.stdout.write(json.dumps(answer))
    return 0


def _check_sums(path: Path) -> None:
    """Raise WeightsCorrupt where a part of PyTorch's archive has not the checksum that it was written with."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # Some are written without one, and packed ones may grow without end.
            if not entry.CRC or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
                continue
            try:
                with archive.open(entry) as part:
                    while part.read(_PIECE_BYTES):
                        pass
            except (zipfile.BadZipFile, EOFError):
                raise WeightsCorrupt(f"{path} is damaged: {entry.filename[:80]} does not fit its checksum.") from None


def _read(path: Path, cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        from codec.nets.loading.checkpoint import read_tensors
    except ImportError:
        return
    _bound(path, cpu_seconds)
    read_tensors(path)


def _bound(path: Path, cpu_seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
    with contextlib.suppress(OSError):
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = in_use + 2 * path.stat().st_size + _ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
