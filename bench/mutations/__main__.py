"""`python -m bench.mutations streams`: damaged `.misc` files; `... uploads`: damaged pictures of nine formats.

Goes on where the run of the same seed and `--record` ended. Exit status 1 when anything but a picture or a typed error
came of an input, or it took too long or too much memory; the input is kept beside the record.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rich.console import Console

from bench.mutations import streams, uploads
from bench.mutations.memory import PeakMemory, bound_memory
from bench.mutations.record import Chunk, Finding, Record

_KINDS: dict[str, tuple[Callable[[int, int, int], Chunk], int, int]] = {
    "streams": (streams.examine_chunk, 1_000_000, 1_000),
    "uploads": (uploads.examine_chunk, 20_000, 250),
}
"""What examines a chunk, how many inputs there are in all, and how many make a chunk."""

_REPORT_SECONDS = 60.0


def main() -> int:
    """Examine what is left, and report all; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mutations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=_KINDS)
    parser.add_argument("--count", type=int, help="how many inputs in all; 1,000,000 streams or 20,000 uploads")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same inputs")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; the rest is for later")
    parser.add_argument("--record", type=Path, help="file of the figures, which a later run goes on with")
    arguments = parser.parse_args()
    examine, count, size = _KINDS[arguments.kind]
    count = arguments.count or count
    file = arguments.record or Path(f"mutations-{arguments.kind}-{arguments.seed}.json")
    try:
        record = Record.read(file, arguments.seed)
    except ValueError as error:
        parser.error(str(error))
    done = set(record.done)
    left = [number for number in range(-(-count // size)) if number not in done]
    console = Console(width=120)
    _examine_all(examine, left, size, arguments.processes, arguments.seconds, record, file, console)
    _print(record, console)
    return 1 if record.faults else 0


def _examine_all(
    examine: Callable[[int, int, int], Chunk], left: list[int], size: int, processes: int, seconds: float,
    record: Record, file: Path, console: Console,
) -> None:  # fmt: skip
    """Chunk by chunk, as many at a time as there are processes; one that ends its process is a finding."""
    started, said = time.monotonic(), time.monotonic()
    numbers = iter(left)
    pool = ProcessPoolExecutor(processes, initializer=_end_with_parent, initargs=(os.getpid(),))
    running: dict[Future[Chunk], int] = {}
    try:
        while True:
            is_over = time.monotonic() - started > seconds
            while len(running) < processes and not is_over and (number := next(numbers, None)) is not None:
                running[pool.submit(_examine_chunk, examine, record.seed, number, size)] = number
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                number = running.pop(future)
                try:
                    chunk = future.result()
                except BrokenProcessPool:
                    # Its neighbours are lost with it: they are examined again by the next run.
                    chunk = Chunk(number, size)
                    chunk.findings.append(Finding(f"chunk-{record.seed}-{number}", "ended its process or hung", b""))
                    pool = ProcessPoolExecutor(processes, initializer=_end_with_parent, initargs=(os.getpid(),))
                    running.clear()
                record.add(chunk, file.with_suffix(".findings"))
                record.write(file)
            if time.monotonic() - said > _REPORT_SECONDS:
                said = time.monotonic()
                console.print(f"{record.count:,} examined, {len(record.faults)} findings", highlight=False)
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent(parent: int) -> None:
    """A chunk takes minutes; nobody waits for one whose run was killed."""

    def _watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=_watch, daemon=True).start()


def _examine_chunk(examine: Callable[[int, int, int], Chunk], seed: int, number: int, size: int) -> Chunk:
    if examine is not streams.examine_chunk:
        return examine(seed, number, size)
    streams.warm_up()
    bound_memory()
    peak = PeakMemory()
    chunk = examine(seed, number, size)
    chunk.memory_bytes = peak.bytes()
    return chunk


def _print(record: Record, console: Console) -> None:
    for outcome, times in record.outcomes.items():
        console.print(f"{times:>9,}  {outcome}", highlight=False)
    console.print(
        f"{record.count:,} inputs, {record.cpu_seconds:.0f} s of processor time, the slowest "
        f"{record.slowest_seconds:.2f} s, at most {record.memory_bytes / 2**20:.0f} MiB for one chunk",
        highlight=False,
    )
    for name, fault in list(record.faults.items())[:40]:
        console.print(f"[red]{name}[/]: {fault}", highlight=False)
    console.print(f"[bold {'red' if record.faults else 'green'}]{len(record.faults)} findings[/]", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
