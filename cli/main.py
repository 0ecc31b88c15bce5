"""Entry of the `misc` command: wires the subcommands together and does nothing itself.

Each subcommand is a module of `cli.commands` with `register(app)`; what is slow to import is imported inside its
functions, so that `misc --help` answers at once.
"""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Annotated

import typer

from cli.commands import (
    admin,
    backup,
    decode,
    demo,
    doctor,
    encode,
    eval,
    exchange,
    inspect,
    jobs,
    keys,
    ls,
    pull,
    push,
    up,
    weights,
    workers,
)
from cli.errors import FAILED
from cli.output import say, told_now_and_then
from cli.version import software
from codec.thread_waiting import sleep_soon

_COMMANDS = (
    encode,
    decode,
    inspect,
    up,
    backup,
    exchange,
    demo,
    push,
    pull,
    ls,
    jobs,
    workers,
    keys,
    admin,
    eval,
    weights,
    doctor,
)
"""In the order of `misc --help`."""

_HELP = """Keep pictures at 0.02 to 0.05 bits per pixel.

A `.misc` file says in words what is in a picture and keeps a very coarse view of it; decoding restores the rest. What \
comes back is made by a decoder and says so in its metadata: never use it as evidence.

Example: misc encode photo.jpg -o photo.misc && misc decode photo.misc -o back.png
"""


def build_app() -> typer.Typer:
    """The command with every subcommand."""
    app = typer.Typer(
        name="misc",
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        show_version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        pass

    options.__doc__ = _HELP
    for command in _COMMANDS:
        command.register(app)
    return app


def main() -> None:
    """Run the command line of this process."""
    sleep_soon()
    try:
        with told_now_and_then(lambda: "still at work ..."):
            _run()
    except OSError as error:
        say(f"misc: {error.filename or 'The output'}: {error.strerror or error}.")
        # What is left in the buffers cannot be written either, and Python would try it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)


def _run() -> None:
    try:
        build_app()()
    except SystemExit as end:
        if sys.stdout is not None:
            sys.stdout.flush()
        if "torch" in sys.modules and (end.code is None or isinstance(end.code, int)):
            _end(end.code or 0)
        raise


def _end(status: int) -> None:
    """End this process as Python does, but without taking its modules apart: PyTorch's take 0.6 seconds."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    os._exit(status)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(software())
        raise typer.Exit


if __name__ == "__main__":
    main()
