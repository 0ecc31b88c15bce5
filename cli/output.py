"""What the command prints: results on stdout, messages and progress bars on stderr."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar(Protocol):
    """Progress of many inputs."""

    def advance(self, done: str) -> None:
        """One more input is finished; `done` names it."""


class StepBar(Protocol):
    """Progress of one input."""

    def stand(self, done: int, total: int) -> None:
        """So many steps of so many are done; the total may change."""


def print_json(document: dict[str, Any]) -> None:
    """The one document of a `--json` call. File names that are not UTF-8 are escaped, as Python reads them."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2)
    sys.stdout.write(text + "\n")


def show(line: str) -> None:
    """A result for people, on stdout."""
    _write(sys.stdout, line)


def say(line: str) -> None:
    """A message, on stderr."""
    _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    """A line, with escapes for what the stream cannot hold: a file name that is not UTF-8 must not end a command."""
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


@contextmanager
def progress_bar(total: int, verb: str) -> Iterator[Bar]:
    """A bar over `total` inputs on stderr; invisible for a single input or without a terminal."""
    if total < 2 or not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _RichBar(progress, total)


@contextmanager
def step_bar(verb: str, *, is_shown: bool) -> Iterator[StepBar]:
    """A bar over the steps of one input on stderr, pulsing until the first is done; invisible without a terminal."""
    if not is_shown or not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _RichBar(progress, None)


class _NoBar:
    def advance(self, done: str) -> None:
        pass

    def stand(self, done: int, total: int) -> None:
        pass


class _RichBar:
    def __init__(self, progress: "Progress", total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def stand(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def advance(self, done: str) -> None:
        self._progress.advance(self._task)
