"""What the commands that talk to a server share: its options, and how its refusals become an exit status."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import FAILED, fail_usage
from cli.output import say

if TYPE_CHECKING:
    from cli.server.client import Client

_BATCH_ID = re.compile(r"bat_[0-9a-z]{26}")

ServerOption = Annotated[
    str | None, typer.Option(envvar="MISC_SERVER", help="Address of the server (http://127.0.0.1:8000).")
]
KeyOption = Annotated[str | None, typer.Option(envvar="MISC_API_KEY", help="Key of the server, where it has keys.")]


class Priority(StrEnum):
    """How urgent jobs are, as the server calls it."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


PriorityOption = Annotated[
    Priority | None,
    typer.Option(help="How urgent it is: interactive overtakes bulk, which is usual for several pictures."),
]


URGENCY = ("priority", "deadline")
"""Options that say how soon a picture is wanted, which makes it no other one."""

DeadlineOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="When it is wanted: in 90s, 10m, 2h or 1d, or at 2026-12-01T08:00, here."),
]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SOON = re.compile(r"(\d{1,6})([smhd])")


def urgency(priority: Priority | None, deadline: str | None) -> dict[str, str]:
    """The options of an upload or an order that say how soon it is wanted, as far as they are given; a time without an
    offset is this machine's. Ends with wrong usage for what is no time."""
    options = {} if priority is None else {"priority": priority.value}
    return options if deadline is None else options | {"deadline": _instant(deadline).isoformat()}


def _instant(text: str) -> datetime:
    if (soon := _SOON.fullmatch(text)) is not None:
        return datetime.now(UTC) + timedelta(seconds=int(soon[1]) * _SECONDS[soon[2]])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise fail_usage(f"--deadline takes 90s, 10m, 2h, 1d or a time, as 2026-12-01T08:00, not {text!r}.") from None


@contextmanager
def connected(server: str | None, key: str | None) -> Iterator["Client"]:
    """A client for the block; a refusal that the block does not handle is said in one sentence and ends with 1."""
    from cli.server.client import Client, ClientError

    try:
        client = Client(server, key)
    except ClientError as error:
        raise fail_usage(str(error)) from None
    with client:
        try:
            yield client
        except ClientError as error:
            say(f"misc: {error}")
            raise typer.Exit(FAILED) from None


def find_batch(client: "Client", batch: str) -> str:
    """The id itself, or that of the newest batch of this name; raises ClientError."""
    from cli.server.client import ClientError

    if _BATCH_ID.fullmatch(batch):
        return batch
    for row in client.batches(name=batch):
        return str(row["id"])
    raise ClientError("not_found", f"There is no batch called {batch!r}; `misc ls --batches` lists them.")
