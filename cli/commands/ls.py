"""`misc ls`: what a server keeps."""

from typing import Annotated, Any

import typer

from cli.errors import fail_usage
from cli.output import print_json, show
from cli.server.remote import KeyOption, ServerOption, connected, find_batch

_HELP = """List the images of a server, newest first.

Examples:

  misc ls --state ready

  misc ls --search "red parrot"

  misc ls --similar img_01kb2c9q0r5w3v7x1y8z4t6n2m

  misc ls --batches

  misc ls --batch holiday
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ls", help=_HELP)(ls)


def ls(
    state: Annotated[str | None, typer.Option(help="Only these: pending, ready, failed or cancelled.")] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Only those of this batch; of a name the newest.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only those whose name or description has these words.")
    ] = None,
    similar: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those that look like this image, nearest first.")
    ] = None,
    batches: Annotated[bool, typer.Option("--batches", help="List batches instead of images.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="How many of the newest; all without it.")] = None,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List images; the help text is `_HELP`."""
    from cli.server.client import path_of

    if batches and (state or batch or search or similar):
        raise fail_usage("--batches lists all batches; --state, --batch, --search and --similar are for images.")
    if similar and (state or batch or search):
        raise fail_usage("--similar looks at all images; give it alone.")
    kind, line = ("batches", _batch_line) if batches else ("images", _line)
    found: list[dict[str, Any]] = []
    with connected(server, key) as client:
        batch_id = None if batch is None else find_batch(client, batch)
        if similar is not None:
            alike = client.get(path_of("images", similar, "similar")).json()["items"]
            rows = iter([one["image"] | {"distance": one["distance"]} for one in alike])
        else:
            rows = client.batches() if batches else client.images(state=state, batch_id=batch_id, q=search)
        for row in rows:
            found.append(row)
            if not as_json:
                show(line(row))
            if limit is not None and len(found) >= limit:
                break
    if as_json:
        print_json({kind: found})
    elif not found:
        show(f"There are no such {kind}.")


def _batch_line(batch: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in batch["counts"].items() if count) or "no jobs"
    return f"{batch['id']}  {batch['progress']:4.0%}  {batch['created_at'][:16]}  {batch['name'] or '-'}: {counts}"


def _line(image: dict[str, Any]) -> str:
    size = "" if image["bpp"] is None else f"{image['bitstream_bytes']:7} bytes  {image['bpp']:.4f} bpp"
    return f"{image['id']}  {image['state']:9} {image['width']:5} x {image['height']:<5} {size:27} {image['name']}"
