"""`misc doctor`: what works here or on a server, and what to do about the rest. The looking is done by `cli.doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import FAILED, fail_usage
from cli.output import print_json, say, show, told_now_and_then

if TYPE_CHECKING:
    from cli.doctor.check import Check

_HELP = """Say what works here and what to do about the rest.

With --server (or MISC_SERVER) it also asks that server, and sends a probe job through each of its queues.

Example: misc doctor --server http://127.0.0.1:8000
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", help=_HELP)(doctor)


def doctor(
    server: Annotated[str | None, typer.Option(envvar="MISC_SERVER", help="A server to ask as well.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", envvar="MISC_DATA", help="The folder that `misc up` would use.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Run every check; the help text is `_HELP`."""
    from cli.doctor.machine import local_checks
    from cli.doctor.server import server_checks
    from cli.local.paths import data_folder
    from cli.server.client import Client, ClientError

    found: list[Check] = []

    def _note(check: "Check") -> None:
        found.append(check)
        if not as_json:
            show(_line(check))

    with told_now_and_then(lambda: f"Looking ... {len(found)} checks done"):
        for check in local_checks(data or data_folder()):
            _note(check)
        if server is not None:
            try:
                client = Client(server, timeout_seconds=10)
            except ClientError as error:
                raise fail_usage(str(error)) from None
            with client:
                for check in server_checks(client):
                    _note(check)
    broken = [check.name for check in found if check.is_essential and not check.is_well]
    if as_json:
        print_json({"ok": not broken, "checks": [_as_json(check) for check in found]})
    if broken:
        say(f"misc: not well: {', '.join(broken)}")
        raise typer.Exit(FAILED)
    if not as_json:
        show("Everything that is needed works.")


def _line(check: "Check") -> str:
    state = "ok" if check.is_well else ("MISSING" if check.is_essential else "missing")
    remedy = f"\n{'':26}-> {check.advice}" if not check.is_well and check.advice else ""
    return f"{state:8} {check.name:16} {check.detail}{remedy}"


def _as_json(check: "Check") -> dict[str, object]:
    return {
        "name": check.name,
        "ok": check.is_well,
        "essential": check.is_essential,
        "detail": check.detail,
        "advice": "" if check.is_well else check.advice,
    }
