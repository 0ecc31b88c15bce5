"""What the command prints: results on stdout, messages and progress bars on stderr."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


SILENCE_SECONDS = 5.0
"""What a command may take without a word, lest it be thought to hang."""

_said_at = time.monotonic()
"""When the last message was told, at first when the command began: a second piece of work goes on with the silence of
the first."""

_at_work: list[Callable[[], str]] = []
"""What the command is doing, as words; within a piece of work that of its own parts, the innermost last."""


class Bar(Protocol):
    """Progress of many inputs."""

    def advance(self, done: str) -> None:
        """One more input is finished; `done` names it."""


class StepBar(Protocol):
    """Progress of one input."""

    def stand(self, done: int, total: int) -> None:
        """So many steps of so many are done; the total may change."""


class ByteBar(Protocol):
    """Progress of a file."""

    def stand(self, done: int, total: int | None) -> None:
        """So many bytes of so many are done, as far as is known."""

    def add(self, size: int) -> None:
        """So many bytes more are done."""


def print_json(document: dict[str, Any]) -> None:
    """The one document of a `--json` call. File names that are not UTF-8 are escaped, as Python reads them."""
    if sys.stdout is None:
        return
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
    _break_silence()
    _write(sys.stderr, line)


def _break_silence() -> None:
    global _said_at
    _said_at = time.monotonic()


def _write(stream: TextIO | None, line: str) -> None:
    """A line, with escapes for what the stream cannot hold: a file name that is not UTF-8 must not end a command. One
    that was closed before the command began takes nothing, as with `print`."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


@contextmanager
def progress_bar(total: int, verb: str) -> Iterator[Bar]:
    """A bar over `total` inputs on stderr; for a single input or without a terminal a line now and then instead."""
    if total < 2 or not sys.stderr.isatty():
        quiet = _QuietBar()
        with told_now_and_then(lambda: f"{verb} ... {quiet.done} of {total} done"):
            yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with nothing_told(), Progress(*columns, console=Console(stderr=True), transient=True) as progress:
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
    with nothing_told(), Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _RichBar(progress, None)


@contextmanager
def group_bar(verb: str) -> Iterator[Callable[[int, int, float | None], None]]:
    """A bar over a group on stderr, without a terminal a line now and then: called with how many are done, of how many,
    and the seconds left, where they are known."""
    if not sys.stderr.isatty():
        words = f"{verb} ..."

        def _note(done: int, total: int, seconds_left: float | None) -> None:
            nonlocal words
            words = f"{verb} ... {done} of {total} done{_left(seconds_left)}"

        with told_now_and_then(lambda: words):
            yield _note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with nothing_told(), Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, left="")

        def _show(done: int, total: int, seconds_left: float | None) -> None:
            progress.update(task, completed=done, total=total, left=_left(seconds_left).removeprefix(", "))

        yield _show


@contextmanager
def byte_bar(what: str, total: int | None = None) -> Iterator[ByteBar]:
    """A bar over the bytes of a file on stderr; without a terminal a line now and then instead."""
    if not sys.stderr.isatty():
        quiet = _QuietByteBar()
        with told_now_and_then(lambda: f"{what} ... {quiet.done / 1e6:.0f} MB done"):
            yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with nothing_told(), Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _RichByteBar(progress, what, total)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", {minutes // 60} h {minutes % 60} min left" if minutes >= 60 else f", {minutes}:{rest:02} left"


@contextmanager
def told_now_and_then(words: Callable[[], str]) -> Iterator[None]:
    """While the block runs, a message after five seconds without one, unless `words` gives an empty text.

    Within another such block its words stand in for that one's.
    """
    is_outermost = not _at_work
    _at_work.append(words)
    try:
        with _teller() if is_outermost else nullcontext():
            yield
    finally:
        _at_work.remove(words)


def nothing_told() -> AbstractContextManager[None]:
    """While the block runs, silence is no reason for a message: a bar is seen, or everything is ready."""
    return told_now_and_then(lambda: "")


@contextmanager
def _teller() -> Iterator[None]:
    ended = threading.Event()

    def _tell() -> None:
        while not ended.wait(max(0.0, _said_at + SILENCE_SECONDS - time.monotonic())):
            if words := _at_work[-1]():
                say(f"misc: {words}")
            else:
                _break_silence()

    thread = threading.Thread(target=_tell, name="now-and-then", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _QuietBar:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, done: str) -> None:
        self.done += 1


class _QuietByteBar:
    def __init__(self) -> None:
        self.done = 0

    def stand(self, done: int, total: int | None) -> None:
        self.done = done

    def add(self, size: int) -> None:
        self.done += size


class _RichByteBar:
    def __init__(self, progress: "Progress", what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def stand(self, done: int, total: int | None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def add(self, size: int) -> None:
        self._progress.advance(self._task, size)


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
