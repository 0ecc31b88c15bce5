"""`misc ls`: what a server keeps."""

from typing import Annotated, Any

import typer

from cli.output import print_json, show
from cli.server.remote import KeyOption, ServerOption, connected

_HELP = """List the images of a server, newest first.

Examples: misc ls --state ready; misc ls --search "red parrot"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ls", help=_HELP)(ls)


def ls(
    state: Annotated[str | None, typer.Option(help="Only these: pending, ready, failed or cancelled.")] = None,
    batch: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this batch.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only those whose name or description has these words.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many of the newest; all without it.")] = None,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List images; the help text is `_HELP`."""
    found: list[dict[str, Any]] = []
    with connected(server, key) as client:
        for image in client.images(state=state, batch_id=batch, q=search):
            found.append(image)
            if not as_json:
                show(_line(image))
            if limit is not None and len(found) >= limit:
                break
    if as_json:
        print_json({"images": found})
    elif not found:
        show("There are no such images.")


def _line(image: dict[str, Any]) -> str:
    size = "" if image["bpp"] is None else f"{image['bitstream_bytes']:7} bytes  {image['bpp']:.4f} bpp"
    return f"{image['id']}  {image['state']:9} {image['width']:5} x {image['height']:<5} {size:27} {image['name']}"
