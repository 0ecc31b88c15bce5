"""Sends pictures into a batch and follows it to its end. Prints nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cli.server.client import Client
from cli.server.group import Group
from cli.server.push_history import PushHistory
from cli.server.upload import NO_HURRY, Outcome, Picture, Sender, send_each

PATIENCE_SECONDS = 300.0
"""For how long a server is waited for that goes away while a group is sent or followed, as when it is restarted."""


def send_group(
    client: Client,
    history: PushHistory,
    group: Group,
    pictures: Sequence[Picture],
    *,
    uploads: int,
    on_sent: Callable[[], None],
    urgency: Mapping[str, Any] = NO_HURRY,
) -> list[Outcome]:
    """Send what the batch has not; what became of each, in order."""
    sendable = [picture for picture in pictures if picture.fault is None]
    known = {name for name, _ in group.entries}
    group.announce({one.name for one in sendable}, sum(one.name not in known for one in sendable))
    outcomes = send_each(Sender(client, history, group, urgency).send, pictures, uploads, on_sent)
    group.read()
    # What could not be sent is not waited for.
    group.announce(set(), 0)
    return outcomes


def follow_group(group: Group, outcomes: Sequence[Outcome], on_progress: Callable[[dict[str, Any]], None]) -> None:
    """Return when the batch is done, with the outcomes of its pictures noted; raises ClientError when the server stays
    away."""
    group.wait(on_progress)
    group.read()
    lines = {line["image_id"]: line for line in group.entries.values()}
    for outcome in outcomes:
        if outcome.error is None and outcome.image in lines:
            outcome.note_line(lines[outcome.image])
