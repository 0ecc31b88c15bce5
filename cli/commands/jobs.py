"""`misc jobs`: how the work of a server stands, and a way to stop it."""

from itertools import islice
from typing import Annotated, Any

import typer

from cli.errors import FAILED
from cli.output import print_json, say, show
from cli.server.remote import KeyOption, ServerOption, connected

_HELP = """List the jobs of a server, look at one, follow it, cancel it or retry it.

Examples:

  misc jobs --state running

  misc jobs job_01kb2c9q0r5w3v7x1y8z4t6n2m --watch

  misc jobs --cancel job_01kb2c9q0r5w3v7x1y8z4t6n2m

  misc jobs --code worker_lost

  misc jobs retry job_01kb2c9q0r5w3v7x1y8z4t6n2m

  misc jobs retry --code storage_unavailable
"""


_RETRY = "retry"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("jobs", help=_HELP)(jobs)


def jobs(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[retry] [ID...]",
            help="Jobs; all where none is named. After the word retry: jobs that failed or were cancelled, to be "
            "queued again.",
        ),
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Only these: queued, running, succeeded, failed or cancelled.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only those whose last error has this code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest to list.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow until they have ended.")] = False,
    cancel: Annotated[list[str] | None, typer.Option(metavar="ID", help="Cancel this job; may be repeated.")] = None,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List, follow, cancel or retry; the help text is `_HELP`."""
    ids = ids or []
    retries, ids = ids[:1] == [_RETRY], [job_id for job_id in ids if job_id != _RETRY]
    if retries and not ids and code is None:
        raise typer.BadParameter("Name jobs, or a --code that they failed with.")
    refused: list[dict[str, Any]] = []
    with connected(server, key) as client:
        found: list[dict[str, Any]] = [client.cancel(job_id) for job_id in cancel or ()]
        if retries:
            found += [client.retry(job_id) for job_id in ids]
            for page in client.retry_failed(code) if code is not None and not ids else ():
                found += [client.job(job_id) for job_id in page["retried"]]
                refused += page["refused"]
        elif ids:
            found += [client.job(job_id) for job_id in ids]
        elif not cancel:
            found += islice(client.jobs(state=state, code=code), limit)
        if watch:
            found = [client.wait_for_job(job["id"], on_change=_tell_changes()) for job in found]
    if as_json:
        print_json({"jobs": found} | ({"refused": refused} if retries else {}))
    else:
        for job in found:
            show(line_of(job))
        for refusal in refused:
            show(f"{refusal['id']}  not retried: {refusal['detail']}")
        if not found and not refused:
            show("There are no such jobs.")
    if refused or (watch and any(job["state"] == "failed" for job in found)):
        raise typer.Exit(FAILED)


def line_of(job: dict[str, Any]) -> str:
    """A job on one line."""
    percent = f"{job['progress']:4.0%}" if job["state"] == "running" else "    "
    place = f"behind {job['queue_position']}" if job["queue_position"] else (job["stage"] or "")
    error = f"  {job['error']['code']}: {job['error']['message']}" if job["error"] else ""
    target = job["reconstruction_id"] or job["image_id"] or ""
    return f"{job['id']}  {job['kind']:7} {job['state']:9} {percent} {place:10} {target}{error}".rstrip()


def _tell_changes() -> Any:
    last: list[str] = [""]

    def _on_change(job: dict[str, Any]) -> None:
        line = line_of(job)
        if line != last[0]:
            last[0] = line
            say(line)

    return _on_change
