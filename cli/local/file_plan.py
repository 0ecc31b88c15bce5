"""Which files a command works on, which output belongs to which input, and the loop over many of them."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from cli.errors import INTERRUPTED, describe_error
from cli.local.file_selection import select_files
from cli.local.streams import STANDARD
from cli.output import progress_bar, say
from codec.atomic_files import is_special
from codec.errors import OptionError
from core.errors import ProcessLost

_MAX_NAME_BYTES = 255
"""What a name in a folder may have on the file systems that are in use."""


@dataclass(frozen=True)
class Pair:
    """One input and the file that it becomes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """All pairs of a call. `is_single`: one named file to one named file, which is always done anew; else `folder` is
    where outputs go. `faults` and `left_out` as in `Selection`."""

    pairs: tuple[Pair, ...]
    is_single: bool
    folder: Path | None = None
    faults: tuple[OSError, ...] = ()
    left_out: tuple[str, ...] = ()


def plan_outputs(
    sources: Sequence[Path],
    out_name: str,
    suffixes: Collection[str],
    new_suffix: str,
    exclude: Collection[str] = (),
) -> Plan:
    """Pair inputs with outputs.

    One file goes to the file `out_name`, or into it where it is a folder or ends in a slash. Several files and folders
    go into the folder `out_name`; of a folder files are taken as `select_files` says, and keep their relative path. Two
    inputs that would share an output keep their own suffix in its name. Raises OptionError for calls that make no
    sense.
    """
    out = Path(out_name)
    is_folder_out = out.is_dir() or out_name.endswith(("/", os.sep))
    if len(sources) == 1 and not sources[0].is_dir() and not is_folder_out:
        plan = Plan((Pair(sources[0], out),), is_single=True)
    elif STANDARD in sources:
        raise OptionError("What comes from stdin needs a file as its output: -o NAME, or -o - for stdout.")
    else:
        if out.exists() and not out.is_dir():
            raise OptionError(f"{out} is a file; several inputs or a folder need a folder as their output.")
        selection = select_files(sources, suffixes, exclude)
        pairs = _distinct([(source, out / relative) for source, relative in selection.files], new_suffix)
        plan = Plan(tuple(pairs), False, out, selection.faults, selection.left_out)
    for pair in plan.pairs:
        if is_special(pair.target) or pair.source == STANDARD:
            continue
        if pair.target.exists() and pair.source.exists() and pair.target.samefile(pair.source):
            raise OptionError(f"{pair.source} would be overwritten by its own output; choose another one.")
    return plan


def _distinct(entries: list[tuple[Path, Path]], new_suffix: str) -> list[Pair]:
    counts = Counter(place.with_suffix(new_suffix) for _, place in entries)
    pairs = []
    taken: set[Path] = set()
    for source, place in entries:
        target = place.with_suffix(new_suffix)
        if counts[target] > 1:
            target = place.with_name(place.name + new_suffix)
        target = _with_room(target)
        if target in taken:
            raise OptionError(f"Two inputs are called {place.name}; encode them into different folders.")
        taken.add(target)
        pairs.append(Pair(source, target))
    return pairs


def _with_room(target: Path) -> Path:
    """The path itself, or with a shorter name where a longer suffix takes it past what file systems hold."""
    name = os.fsencode(target.name)
    if len(name) <= _MAX_NAME_BYTES:
        return target
    ending = f"~{hashlib.sha256(name).hexdigest()[:8]}{target.suffix}"
    stem = os.fsencode(target.stem)[: _MAX_NAME_BYTES - len(ending)].decode(errors="ignore")
    return target.with_name(stem + ending)


def is_newer(target: Path, source: Path) -> bool:
    """True when the output is there and not older than its input."""
    try:
        return target.stat().st_mtime >= source.stat().st_mtime
    except OSError:
        return False


TaskT = TypeVar("TaskT")


def run_all(
    work: Callable[[TaskT], dict[str, Any]],
    tasks: Sequence[TaskT],
    jobs: int,
    verb: str,
    died: Callable[[TaskT], dict[str, Any]],
    on_result: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Results of all tasks in their order, over `jobs` processes, with a progress bar.

    `work` must be importable by name and must not raise for a bad input; `died` gives the result of a task whose
    process was killed, as the system does when memory runs out. `on_result` is called with each as it comes. Ctrl-C
    ends the call with what is done.
    """
    results: list[dict[str, Any]] = []
    try:
        with progress_bar(len(tasks), verb) as bar:
            for result in _each(work, tasks, min(jobs, len(tasks)), died):
                results.append(result)
                on_result(result)
                bar.advance("")
    except KeyboardInterrupt:
        if len(tasks) > 1:
            done = f"{len(results)} of {len(tasks)}"
            say(f"misc: stopped after {done}; what is done stays, and the same call goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    return results


def _each(
    work: Callable[[TaskT], dict[str, Any]],
    tasks: Sequence[TaskT],
    count: int,
    died: Callable[[TaskT], dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    if count < 2:
        yield from map(work, tasks)
        return
    from core.process_pool import ProcessPool

    # Threads only wait for the processes. The pool is left first, so that an interrupted call ends at once.
    with ThreadPoolExecutor(count) as threads, ProcessPool(count) as pool:

        def _run(task: TaskT) -> dict[str, Any]:
            try:
                return pool.call(work, task)
            except ProcessLost:
                return died(task)

        yield from threads.map(_run, tasks)


def fault_results(faults: Sequence[OSError], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Results of what a folder holds and cannot be read."""
    return [
        {"input": str(fault.filename), "output": None, **dict.fromkeys(keys), "error": describe_fault(fault)}
        for fault in faults
    ]


def describe_fault(fault: OSError) -> dict[str, str]:
    """`code` and `message` of something in a folder that cannot be taken; the message does not name it again."""
    return {"code": "file_unusable", "message": f"It cannot be read: {fault.strerror or fault}."}


def died_result(pair: Pair, keys: Sequence[str]) -> dict[str, Any]:
    """The result of an input whose process was killed from outside."""
    return error_result(pair, keys, MemoryError())


def error_result(pair: Pair, keys: Sequence[str], error: Exception) -> dict[str, Any]:
    """The result of an input that failed: the usual keys without values, and the error."""
    named = {"input": str(pair.source), "output": str(pair.target)}
    return {**named, **dict.fromkeys(keys), "error": describe_error(error)}
