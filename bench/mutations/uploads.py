"""Damaged pictures of nine formats through the children that open uploads: a size, samples or a typed error, within
their time and memory, and no child that dies of anything but its bounds."""

import random
import signal
import tempfile
from pathlib import Path
from typing import Any

import psutil
from structlog.testing import capture_logs

from bench.mutations import seeds
from bench.mutations.damage import damaged, spliced
from bench.mutations.memory import PeakMemory
from bench.mutations.record import Chunk, Finding
from codec.errors import CodecError
from core.picture_reader import CPU_SECONDS, ChildPictureReader

MOST_SECONDS = float(CPU_SECONDS)
MOST_BYTES = 1 << 30

_BOUNDS = {-signal.SIGXCPU, -signal.SIGKILL}
"""How a child ends that has used up its time."""


def examine_chunk(seed: int, number: int, count: int) -> Chunk:
    """Uploads of one chunk, the same for the same seed and number; every second one is opened, the others checked."""
    rng = random.Random(f"uploads {seed} {number}")
    every = seeds.pictures()
    chunk = Chunk(number, count)
    reader = ChildPictureReader(1)
    with tempfile.TemporaryDirectory(prefix="misc-mutations-") as folder:
        path = Path(folder) / "upload"
        try:
            for index in range(count):
                name = rng.choice(sorted(every))
                data = _relative(rng, every[name], name)
                path.write_bytes(data)
                fault = _examine(reader, path, name, is_opened=index % 2 == 1, chunk=chunk)
                if fault is not None:
                    chunk.findings.append(Finding(f"upload-{seed}-{number}-{index}.{name}", fault, data))
        finally:
            reader.close()
    return chunk


def _relative(rng: random.Random, files: tuple[bytes, ...], name: str) -> bytes:
    data = rng.choice(files)
    data = spliced(rng, data, rng.choice(files)) if rng.random() < 0.1 else damaged(rng, data)
    return with_right_checksums(data) if name == "png" and rng.random() < 0.7 else data


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums that they should have, as far as its lengths can be followed."""
    import zlib

    out, position = bytearray(data), 8
    while position + 12 <= len(out):
        end = position + 8 + int.from_bytes(out[position : position + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(out)


def _examine(reader: ChildPictureReader, path: Path, name: str, *, is_opened: bool, chunk: Chunk) -> str | None:
    """Note what came of it; return what is wrong with that."""
    before = _child()
    peak = None if before is None else PeakMemory(before.pid)
    cpu_before = 0.0 if before is None else sum(before.cpu_times()[:2])
    fault: str | None = None
    with capture_logs() as events:
        try:
            if is_opened:
                reader.open(path)
            else:
                reader.check(path)
            outcome = f"{name} picture"
        except CodecError as error:
            outcome = f"{name} {error.code}"
        except Exception as error:  # noqa: BLE001 - any other kind is what is looked for
            outcome, fault = f"{name} crash", f"{type(error).__name__}: {error}"
    after = _child()
    # A child that was replaced has taken its figures along; what it may have is bounded by the product itself.
    seconds = sum(after.cpu_times()[:2]) - cpu_before if after is not None and after == before else 0.0
    if peak is not None and after == before:
        chunk.memory_bytes = max(chunk.memory_bytes, peak.bytes())
    chunk.note(outcome, seconds)
    return fault or _fault_of(events, seconds, chunk.memory_bytes)


def _fault_of(events: list[Any], cpu_seconds: float, memory_bytes: int) -> str | None:
    for event in events:
        if event["event"] == "picture_child_ended" and event["status"] not in _BOUNDS:
            return f"its reader died with {event['status']}"
    if cpu_seconds > MOST_SECONDS:
        return f"took {cpu_seconds:.1f} s of processor time"
    return f"took {memory_bytes >> 20} MiB" if memory_bytes > MOST_BYTES else None


def _child() -> psutil.Process | None:
    return next(iter(psutil.Process().children()), None)
