"""Which files a command works on, which output belongs to which input, and the loop over many of them."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cli.errors import describe_error
from cli.output import progress_bar
from codec.errors import OptionError
from core.errors import ProcessLost


@dataclass(frozen=True)
class Pair:
    """One input and the file that it becomes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """All pairs of a call. `is_single`: one named file to one named file, which is always done anew."""

    pairs: tuple[Pair, ...]
    is_single: bool


def plan_outputs(sources: Sequence[Path], out_name: str, suffixes: Collection[str], new_suffix: str) -> Plan:
    """Pair inputs with outputs.

    One file goes to the file `out_name`, or into it where it is a folder or ends in a slash. Several files and folders
    go into the folder `out_name`; of a folder every file with one of `suffixes` is taken, at any depth, and keeps its
    relative path. Two inputs that would share an output keep their own suffix in its name. Raises OptionError for calls
    that make no sense.
    """
    out = Path(out_name)
    is_folder_out = out.is_dir() or out_name.endswith(("/", os.sep))
    if len(sources) == 1 and not sources[0].is_dir() and not is_folder_out:
        pairs = [Pair(sources[0], out)]
        is_single = True
    else:
        if out.exists() and not out.is_dir():
            raise OptionError(f"{out} is a file; several inputs or a folder need a folder as their output.")
        files = find_files(sources, suffixes)
        pairs = _distinct([(source, out / relative) for source, relative in files], new_suffix)
        is_single = False
    for pair in pairs:
        if pair.target.exists() and pair.source.exists() and pair.target.samefile(pair.source):
            raise OptionError(f"{pair.source} would be overwritten by its own output; choose another one.")
    return Plan(tuple(pairs), is_single)


def find_files(sources: Sequence[Path], suffixes: Collection[str]) -> list[tuple[Path, Path]]:
    """The files that a command works on, each with its path relative to what was named.

    Named files are taken as they are, whatever they are called and whether or not they are there; of a folder, every
    file at any depth with one of the suffixes that neither is hidden nor lies in a hidden folder. Raises OptionError
    where that is nothing.
    """
    files: list[tuple[Path, Path]] = []
    for source in sources:
        if not source.is_dir():
            files.append((source, Path(source.name)))
            continue
        below = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in suffixes and path.is_file()]
        relative = [(path, path.relative_to(source)) for path in below]
        files += [entry for entry in relative if not any(part.startswith(".") for part in entry[1].parts)]
    if not files:
        names = ", ".join(map(str, sources))
        raise OptionError(f"There is nothing to do in {names}: no file ends in {', '.join(sorted(suffixes))}.")
    return files


def _distinct(entries: list[tuple[Path, Path]], new_suffix: str) -> list[Pair]:
    counts = Counter(place.with_suffix(new_suffix) for _, place in entries)
    pairs = []
    taken: set[Path] = set()
    for source, place in entries:
        target = place.with_suffix(new_suffix)
        if counts[target] > 1:
            target = place.with_name(place.name + new_suffix)
        if target in taken:
            raise OptionError(f"Two inputs are called {place.name}; encode them into different folders.")
        taken.add(target)
        pairs.append(Pair(source, target))
    return pairs


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
) -> list[dict[str, Any]]:
    """Results of all tasks in their order, over `jobs` processes, with a progress bar.

    `work` must be importable by name and must not raise for a bad input; `died` gives the result of a task whose
    process was killed, as the system does when memory runs out.
    """
    count = min(jobs, len(tasks))
    with progress_bar(len(tasks), verb) as bar:
        if count < 2:
            results = []
            for task in tasks:
                results.append(work(task))
                bar.advance("")
            return results
        from core.process_pool import ProcessPool

        # Threads only wait for the processes. The pool is left first, so that an interrupted call ends at once.
        with ThreadPoolExecutor(count) as threads, ProcessPool(count) as pool:

            def run(task: TaskT) -> dict[str, Any]:
                try:
                    return pool.call(work, task)
                except ProcessLost:
                    return died(task)
                finally:
                    bar.advance("")

            return list(threads.map(run, tasks))


def died_result(pair: Pair, keys: Sequence[str]) -> dict[str, Any]:
    """The result of an input whose process was killed from outside."""
    return error_result(pair, keys, MemoryError())


def error_result(pair: Pair, keys: Sequence[str], error: Exception) -> dict[str, Any]:
    """The result of an input that failed: the usual keys without values, and the error."""
    named = {"input": str(pair.source), "output": str(pair.target)}
    return {**named, **dict.fromkeys(keys), "error": describe_error(error)}
