"""What the commands that talk to a server share: its options, and how its refusals become an exit status."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
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
