"""`misc workers`: the worker processes of a server, and a way to have one finish and take nothing more."""

from typing import Annotated, Any

import typer

from cli.output import print_json, show
from cli.server.remote import KeyOption, ServerOption, connected

_HELP = """List the worker processes of a server, drain one, or have it take jobs again.

Examples:

  misc workers

  misc workers --drain wrk_01kb2c9q0r5w3v7x1y8z4t6n2m
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("workers", help=_HELP)(workers)


def workers(
    drain: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Have it finish its jobs and take no others; repeatable.")
    ] = None,
    resume: Annotated[list[str] | None, typer.Option(metavar="ID", help="Have it take jobs again; repeatable.")] = None,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List, drain or resume; the help text is `_HELP`."""
    with connected(server, key) as client:
        found: list[dict[str, Any]] = [client.drain(worker_id, is_wanted=True) for worker_id in drain or ()]
        found += [client.drain(worker_id, is_wanted=False) for worker_id in resume or ()]
        if not drain and not resume:
            found = client.workers()
    if as_json:
        print_json({"workers": found})
        return
    for worker in found:
        show(_line_of(worker))
    if not found:
        show("There are no workers.")


def _line_of(worker: dict[str, Any]) -> str:
    queues = ",".join(worker["queues"])
    load = f"{worker['running']}/{worker['threads']}"
    return f"{worker['id']}  {worker['state']:8} {queues:19} {load:>6}  {worker['name']}  {worker['version']}"
