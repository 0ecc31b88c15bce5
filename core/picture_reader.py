"""Opens untrusted pictures in child processes, so that none can take a process's memory, its time, or the process.

The exchange with a child: one JSON line a request (`task`, `path`, `max_pixels`), one JSON line back, followed by the
RGB samples of an opened picture. A child that breaks its bounds is killed and replaced; so is one whose caller has
cancelled.
"""

import json
import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from codec import errors as codec_errors
from codec.errors import Cancelled, CodecError, PictureTooCostly
from codec.limits import MAX_PIXELS
from codec.picture.capture import Capture, capture_of
from codec.picture.open import OpenedPicture, PictureInfo, check_picture, read_picture
from core.logging import get_logger

_log = get_logger(__name__)

CPU_SECONDS = 10
"""A JPEG of 100 megapixels takes 2 s, a PNG 4 s."""

_WALL_SECONDS = 120.0
"""For a machine on which everything takes ten times as long; ends a child that waits for nothing."""

_POLL_SECONDS = 0.2
"""How soon a cancelled request notices it."""

_REQUESTS_PER_CHILD = 500
"""Readers in C may leak; a fresh child has not."""

_MAX_LINE_BYTES = 64 * 1024


def _never() -> bool:
    return False


class PictureReader(Protocol):
    """What opens pictures: in this process, or in children of it. Errors as those of `codec.picture.open`."""

    def check(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> PictureInfo:
        """Read the file to its end; return the upright size in pixels and the media type."""

    def open(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never
    ) -> OpenedPicture:
        """Return the picture as upright 8-bit sRGB, with notes of what was left out or assumed."""

    def capture(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> Capture:
        """Return when and where the picture was taken, as far as its file says."""

    def close(self) -> None:
        """End what was started for it."""


class DirectPictureReader:
    """Opens pictures in this process, for files that its own user names."""

    def check(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> PictureInfo:
        """See PictureReader."""
        return check_picture(path, max_pixels=max_pixels)

    def open(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never
    ) -> OpenedPicture:
        """See PictureReader."""
        return read_picture(path, max_pixels=max_pixels)

    def capture(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> Capture:
        """See PictureReader."""
        return capture_of(path, max_pixels=max_pixels)

    def close(self) -> None:
        """Nothing was started."""


class ChildPictureReader:
    """Opens pictures in at most `children` processes, which start when they are first needed. Thread-safe.

    Beside the errors of `codec.picture.open` raises PictureTooCostly, for a picture that took more time or memory
    than its size allows or that ended its reader, and Cancelled.
    """

    def __init__(self, children: int, *, cpu_seconds: int = CPU_SECONDS, niceness: int = 0) -> None:
        self._cpu_seconds, self._niceness = cpu_seconds, niceness
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(children):
            self._idle.put(None)

    def check(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> PictureInfo:
        """See PictureReader."""
        answer, _ = self._ask("check", path, max_pixels, cancelled)
        return PictureInfo(answer["width"], answer["height"], answer["media_type"])

    def open(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never
    ) -> OpenedPicture:
        """See PictureReader."""
        answer, pixels = self._ask("open", path, max_pixels, cancelled)
        size = (answer["width"], answer["height"])
        return OpenedPicture(Image.frombuffer("RGB", size, pixels, "raw", "RGB", 0, 1), tuple(answer["notes"]))

    def capture(self, path: Path, *, max_pixels: int = MAX_PIXELS, cancelled: Callable[[], bool] = _never) -> Capture:
        """See PictureReader."""
        answer, _ = self._ask("capture", path, max_pixels, cancelled)
        return Capture(**answer)

    def close(self) -> None:
        """End the children that are idle; others end with their request."""
        while True:
            try:
                child = self._idle.get_nowait()
            except queue.Empty:
                return
            if child is not None:
                child.end()

    def _ask(
        self, task: str, path: Path, max_pixels: int, cancelled: Callable[[], bool]
    ) -> tuple[dict[str, Any], bytearray]:
        child = self._borrow(cancelled)
        is_sound = False
        try:
            answer, pixels = child.ask({"task": task, "path": str(path), "max_pixels": max_pixels}, cancelled)
            is_sound = child.requests < _REQUESTS_PER_CHILD
        finally:
            if not is_sound:
                child.end()
            self._idle.put(child if is_sound else None)
        if "error" in answer:
            raise _error_of(answer["error"], answer["message"])
        return answer, pixels

    def _borrow(self, cancelled: Callable[[], bool]) -> "_Child":
        while True:
            try:
                child = self._idle.get(timeout=_POLL_SECONDS)
                break
            except queue.Empty:
                if cancelled():
                    raise Cancelled("Cancelled before the picture was opened.") from None
        if child is not None and child.is_alive:
            return child
        try:
            return _Child(self._cpu_seconds, self._niceness)
        except BaseException:
            self._idle.put(None)
            raise


@dataclass
class _Deadline:
    """When a request has taken too long, or its caller does not want it any more."""

    at: float
    cancelled: Callable[[], bool]

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled("Cancelled while the picture was opened.")
        if time.monotonic() > self.at:
            raise _too_costly()


class _Child:
    """One process and the two pipes to it; used by one thread at a time."""

    def __init__(self, cpu_seconds: int, niceness: int) -> None:
        # One arena: each further one counts as 64 MB of address space. No secret of this process is handed down.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MISC_", "AWS_"))}
        environment["MALLOC_ARENA_MAX"] = "1"
        environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "core.picture_child", str(niceness), str(cpu_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
        )
        assert self._process.stdout is not None
        # Not select(), which knows no descriptor above 1,023.
        self._answers = select.poll()
        self._answers.register(self._process.stdout, select.POLLIN)
        self.requests = 0

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> tuple[dict[str, Any], bytearray]:
        """The child's answer and the samples after it; raises PictureTooCostly and Cancelled, and is of no use then."""
        self.requests += 1
        deadline = _Deadline(time.monotonic() + _WALL_SECONDS, cancelled)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise _too_costly() from None
        line, rest = self._read_line(deadline)
        answer: dict[str, Any] = json.loads(line)
        size_bytes = (
            answer["width"] * answer["height"] * 3 if request["task"] == "open" and "error" not in answer else 0
        )
        pixels = bytearray(size_bytes)
        pixels[: len(rest)] = rest
        filled = len(rest)
        with memoryview(pixels) as view:
            while filled < size_bytes:
                piece = self._read(min(1 << 20, size_bytes - filled), deadline)
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
        return answer, pixels

    def end(self) -> None:
        """Kill the process and reap it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _read_line(self, deadline: _Deadline) -> tuple[bytes, bytes]:
        data = b""
        while b"\n" not in data:
            if len(data) > _MAX_LINE_BYTES:
                raise _too_costly()
            data += self._read(_MAX_LINE_BYTES, deadline)
        line, _, rest = data.partition(b"\n")
        return line, rest

    def _read(self, most: int, deadline: _Deadline) -> bytes:
        assert self._process.stdout is not None
        while not self._answers.poll(_POLL_SECONDS * 1000):
            deadline.check()
        data = os.read(self._process.stdout.fileno(), most)
        if not data:
            _log.warning("picture_child_ended", status=self._process.wait(timeout=10))
            raise _too_costly()
        return data


def _too_costly() -> PictureTooCostly:
    return PictureTooCostly(
        "The picture took more time or memory to open than pictures of its size do. Save it again as PNG or JPEG."
    )


def _error_of(name: str, message: str) -> Exception:
    kind = getattr(codec_errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CodecError):
        return kind(message)
    return OSError(message)
