"""How errors become sentences and exit statuses: 0 done, 1 some inputs failed, 2 wrong usage, 130 Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from cli.output import say
from codec.errors import CodecError
from core.errors import ServiceError, SettingsInvalid

FAILED, WRONG_USAGE = 1, 2

INTERRUPTED = 130
"""As shells say that Ctrl-C ended a command."""


def describe_error(error: Exception) -> dict[str, str]:
    """`code` and `message` of an error, as `--json` shows them."""
    if isinstance(error, CodecError | SettingsInvalid):
        return {"code": error.code, "message": str(error)}
    if isinstance(error, FileNotFoundError):
        return {"code": "file_missing", "message": f"There is no file {error.filename}. Check the name."}
    if isinstance(error, OSError):
        return {"code": "file_unusable", "message": f"{error.filename or 'A file'}: {error.strerror or error}."}
    if isinstance(error, MemoryError):
        return {"code": "out_of_memory", "message": "There is not enough memory for this picture on this machine."}
    return {
        "code": "internal_error",
        "message": f"{type(error).__name__}: {error}. This is a fault of the program; please report it.",
    }


def as_flag(name: str) -> str:
    """How people write an option of the codec on the command line."""
    return f"--{name.replace('_', '-')}" if name else ""


def fail_usage(message: str) -> typer.Exit:
    """Say what was asked wrongly; the caller raises what is returned."""
    say(f"misc: {message}")
    return typer.Exit(WRONG_USAGE)


@contextmanager
def usage_errors(*also: type[Exception]) -> Iterator[None]:
    """Codec errors, wrong settings and `also` are faults of the call as a whole: one sentence, exit status 2."""
    faults: tuple[type[Exception], ...] = (CodecError, SettingsInvalid, *also)
    try:
        yield
    except faults as error:
        raise fail_usage(describe_error(error)["message"]) from None


@contextmanager
def archive_usage_errors(*also: type[Exception]) -> Iterator[None]:
    """What the archive's parts raise, and `also`, are faults of the call as a whole: one sentence, exit status 2."""
    faults: tuple[type[Exception], ...] = (ServiceError, CodecError, *also)
    try:
        yield
    except faults as error:
        raise fail_usage(str(error)) from None


@contextmanager
def archive_failures(*also: type[Exception]) -> Iterator[None]:
    """What the archive's parts and files raise, and `also`, end the command: one sentence, exit status 1."""
    faults: tuple[type[Exception], ...] = (ServiceError, CodecError, *also)
    try:
        yield
    except faults as error:
        message = str(error)
    except OSError as error:
        message = describe_error(error)["message"]
    else:
        return
    say(f"misc: {message}")
    raise typer.Exit(FAILED)


def failures(results: list[dict[str, Any]]) -> int:
    """How many results carry an error."""
    return sum(1 for result in results if result["error"] is not None)
