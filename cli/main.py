"""Entry of the `misc` command: wires the subcommands together and does nothing itself.

Each subcommand is a module of this package with `register(app)`; what is slow to import is imported inside its
functions, so that `misc --help` answers at once.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli import decode, demo, doctor, encode, eval, inspect, jobs, ls, pull, push, up, weights

_COMMANDS = (encode, decode, inspect, up, demo, push, pull, ls, jobs, eval, weights, doctor)
"""In the order of `misc --help`."""

_HELP = """Keep pictures at 0.02 to 0.05 bits per pixel.

A `.misc` file says in words what is in a picture and keeps a very coarse view of it; decoding paints the rest. What \
comes back is made by a decoder and says so in its metadata: never use it as evidence.

Example: misc encode photo.jpg -o photo.misc && misc decode photo.misc -o back.png
"""


def build_app() -> typer.Typer:
    """The command with every subcommand."""
    app = typer.Typer(
        name="misc",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
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


def software() -> str:
    """Name and version of this program, as metadata say it."""
    try:
        return f"misc-archive {version('misc-archive')}"
    except PackageNotFoundError:
        return "misc-archive"


def main() -> None:
    """Run the command line of this process."""
    build_app()()


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(software())
        raise typer.Exit


if __name__ == "__main__":
    main()
