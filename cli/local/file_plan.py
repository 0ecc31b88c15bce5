"""Which output belongs to which input, how outputs are written, and the loop over many of them."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cli.errors import describe_error
from cli.output import progress_bar
from codec.errors import OptionError


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
        found = [entry for source in sources for entry in _files_of(source, suffixes)]
        if not found:
            names = ", ".join(map(str, sources))
            raise OptionError(f"There is nothing to do in {names}: no file ends in {', '.join(sorted(suffixes))}.")
        pairs = _distinct([(source, out / relative) for source, relative in found], new_suffix)
        is_single = False
    for pair in pairs:
        if pair.target.exists() and pair.source.exists() and pair.target.samefile(pair.source):
            raise OptionError(f"{pair.source} would be overwritten by its own output; choose another one.")
    return Plan(tuple(pairs), is_single)


def _files_of(source: Path, suffixes: Collection[str]) -> list[tuple[Path, Path]]:
    """Files to take and their paths relative to what was named."""
    if not source.is_dir():
        return [(source, Path(source.name))]
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    relative = [(path, path.relative_to(source)) for path in files]
    return [pair for pair in relative if not any(part.startswith(".") for part in pair[1].parts)]


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
    with progress_bar(len(tasks), verb) as bar:
        if min(jobs, len(tasks)) < 2:
            results = []
            for task in tasks:
                results.append(work(task))
                bar.advance("")
            return results
        return _run_in_processes(work, tasks, min(jobs, len(tasks)), died, bar.advance)


def _run_in_processes(
    work: Callable[[TaskT], dict[str, Any]],
    tasks: Sequence[TaskT],
    jobs: int,
    died: Callable[[TaskT], dict[str, Any]],
    advance: Callable[[str], None],
) -> list[dict[str, Any]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    # Fresh processes: a fork would copy the threads' locks of the libraries that are loaded here.
    context = multiprocessing.get_context("spawn")
    results: dict[int, dict[str, Any]] = {}

    def run(indices: Sequence[int], workers: int) -> None:
        """Fill in the results of some tasks; those that a dying process took with it stay without one."""
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = {pool.submit(work, tasks[index]): index for index in indices}
            try:
                for future in as_completed(futures):
                    with contextlib.suppress(BrokenProcessPool):
                        results[futures[future]] = future.result()
                        advance("")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    run(range(len(tasks)), jobs)
    # One process that dies takes its whole pool along, so what is left is done one by one to find the cause.
    for index in [index for index in range(len(tasks)) if index not in results]:
        run([index], 1)
        if index not in results:
            results[index] = died(tasks[index])
            advance("")
    return [results[index] for index in range(len(tasks))]


def died_result(pair: Pair, keys: Sequence[str]) -> dict[str, Any]:
    """The result of an input whose process was killed from outside."""
    return error_result(pair, keys, MemoryError())


def error_result(pair: Pair, keys: Sequence[str], error: Exception) -> dict[str, Any]:
    """The result of an input that failed: the usual keys without values, and the error."""
    named = {"input": str(pair.source), "output": str(pair.target)}
    return {**named, **dict.fromkeys(keys), "error": describe_error(error)}
