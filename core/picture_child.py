"""The process in which untrusted pictures are decoded, one after the other, each within bounds of memory and time.

Run as `python -m core.picture_child` by `core.picture_reader`, which explains the exchange. It writes no files, holds
no secrets and talks to its parent only.
"""

import importlib
import json
import os
import resource
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from codec.errors import CodecError, PictureTooCostly
from codec.picture.capture import capture_of
from codec.picture.formats import FORMATS
from codec.picture.open import check_picture, claimed_size, read_picture

_MIB = 1024 * 1024

_ROOM_BYTES = 384 * _MIB
"""What readers need whatever the picture's size: tables, threads' stacks, metadata."""

_BYTES_PER_PIXEL = 20
"""Planes of 16 bits, four bytes for a pixel of RGB, the same once more while it is converted, and the result."""


def main() -> int:
    """Serve requests until the parent closes its end."""
    os.nice(int(sys.argv[1]))
    cpu_seconds = int(sys.argv[2])
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for kind, most in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(kind, (most, most))
    # Nothing that a reader prints may mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _import_readers()
    for line in sys.stdin.buffer:
        _answer(json.loads(line), cpu_seconds, answers)
    return 0


def _answer(request: dict[str, object], cpu_seconds: int, answers: BinaryIO) -> None:
    """One JSON line; after it, for an opened picture, its RGB samples."""
    path, max_pixels = Path(str(request["path"])), int(str(request["max_pixels"]))
    pixels = b""
    answer: dict[str, Any]
    try:
        _bound(cpu_seconds, _ROOM_BYTES)
        width, height = claimed_size(path, max_pixels=max_pixels)
        _bound(cpu_seconds, _ROOM_BYTES + _BYTES_PER_PIXEL * width * height)
        if request["task"] == "capture":
            answer = asdict(capture_of(path, max_pixels=max_pixels))
        elif request["task"] == "check":
            info = check_picture(path, max_pixels=max_pixels)
            answer = {"width": info.width, "height": info.height, "media_type": info.media_type}
        else:
            opened = read_picture(path, max_pixels=max_pixels)
            pixels = opened.picture.tobytes()
            answer = {"width": opened.picture.width, "height": opened.picture.height, "notes": opened.notes}
    except CodecError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        message = "The picture takes more memory than pictures of its size do. Save it again as PNG or JPEG."
        answer = {"error": PictureTooCostly.__name__, "message": message}
    except OSError as error:
        answer = {"error": "OSError", "message": str(error)}
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(pixels)
    answers.flush()


def _bound(cpu_seconds: int, room_bytes: int) -> None:
    """Let this picture have so much processor time from now on, and so much memory beside what is in use."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + cpu_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    in_use = _address_space_bytes()
    if in_use is not None:
        resource.setrlimit(resource.RLIMIT_AS, (in_use + room_bytes, resource.RLIM_INFINITY))


def _address_space_bytes() -> int | None:
    """None where the system does not tell; there only time bounds a picture."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[0]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def _import_readers() -> None:
    """Load every reader before the first picture, whose time it is not."""
    for entry in FORMATS:
        with suppress(ImportError):
            importlib.import_module(entry.module)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
