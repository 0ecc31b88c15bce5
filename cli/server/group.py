"""Many pictures pushed as one batch: what it has already, how far it is, what became of it. Prints nothing."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.server.client import Client, ClientError, ServerUnreachable, path_of
from cli.server.push_history import PushHistory

_LOST_STATES = frozenset({"failed", "cancelled"})
_RECONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class GroupName:
    """What a batch is called, and by which mark this machine remembers it."""

    name: str
    mark: str

    @classmethod
    def chosen(cls, name: str) -> "GroupName":
        """A name that somebody gave it."""
        return cls(name, f"batch-{hashlib.sha256(name.encode()).hexdigest()[:40]}")

    @classmethod
    def of_folder(cls, folder: Path) -> "GroupName":
        """That of a folder, whose whole path tells it from others of the same name."""
        return cls(folder.name or "pictures", f"folder-{hashlib.sha256(bytes(folder)).hexdigest()[:40]}")


class Group:
    """One batch of a server. `entries` are lines of its manifest by name and SHA-256 of the original."""

    def __init__(self, client: Client, batch_id: str) -> None:
        """Reads the manifest."""
        self.id, self._client = batch_id, client
        self.entries: dict[tuple[str, str], dict[str, Any]] = {}
        self._rejected: set[str] = set()
        self.read()

    @classmethod
    def open(cls, client: Client, history: PushHistory, name: GroupName, *, is_shared: bool) -> "Group":
        """The batch that was made from here under this mark, else the newest of this name if it `is_shared`, else a new
        one."""
        batch_id = history.find(client.server, name.mark)
        if batch_id is None or not _is_there(client, batch_id):
            owner = client.get("/v1/usage").json()["owner"]
            same = (row for row in client.batches(name=name.name) if row["owner"] == owner)
            found = next(same, None) if is_shared else None
            batch_id = str((found or client.create_batch(name.name))["id"])
            history.remember(client.server, name.mark, batch_id)
        return cls(client, batch_id)

    def read(self) -> None:
        """Read the manifest as it is now."""
        content = self._client.get(self._path("manifest")).content
        lines = [json.loads(line) for line in content.split(b"\n") if line]
        self.entries = {(line["name"], line["original_sha256"]): line for line in lines if line["image_id"]}
        self._rejected = {line["name"] for line in lines if not line["image_id"]}

    def find(self, name: str, sha256: str, options: dict[str, Any]) -> dict[str, Any] | None:
        """The line of this very picture, unless it came to nothing or was sent with other options."""
        line = self.entries.get((name, sha256))
        if line is None or line["state"] in _LOST_STATES or not _are_same(options, line["options"]):
            return None
        return line

    def make_room(self, name: str, sha256: str, options: dict[str, Any]) -> bool:
        """Delete this very picture where it came to nothing with the same options, so that it is in the batch once;
        returns whether it was there."""
        line = self.entries.get((name, sha256))
        if line is None or line["state"] not in _LOST_STATES or not _are_same(options, line["options"]):
            return False
        try:
            self._client.delete_image(line["image_id"])
        except ClientError as error:
            if error.status != 404:
                raise
        return True

    def announce(self, names: set[str], new: int) -> None:
        """Tell the server how many pictures there will be: those that stay, and `new` ones, which have these names."""
        self._client.change_batch(self.id, {"expected": len(self.entries) + len(self._rejected - names) + new})

    def wait(self, on_progress: Callable[[dict[str, Any]], None]) -> None:
        """Return when the batch is done, through restarts of the server; raises ClientError when it stays away."""
        last_id, heard_at = "", time.monotonic()
        while True:
            try:
                with self._client.events(self._path("events"), last_id) as events:
                    for event_id, batch in events:
                        last_id, heard_at = event_id, time.monotonic()
                        on_progress(batch)
                        if batch["is_done"]:
                            return
            except ClientError as error:
                is_passing = isinstance(error, ServerUnreachable) or error.status in (429, 502, 503, 504)
                if not is_passing or time.monotonic() - heard_at > self._client.patience_seconds:
                    raise
            time.sleep(_RECONNECT_SECONDS)

    def report(self) -> dict[str, Any]:
        """The server's report."""
        return dict(self._client.get(self._path("report")).json())

    def save_manifest(self, target: Path) -> None:
        """Write the server's manifest into a file."""
        self._client.download(self._path("manifest"), target)

    def _path(self, part: str) -> str:
        return path_of("batches", self.id, part)


def _is_there(client: Client, batch_id: str) -> bool:
    try:
        client.batch(batch_id)
    except ClientError as error:
        if error.status == 404:
            return False
        raise
    return True


def _are_same(given: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether options say the same; a profile that is not given is the server's own."""
    left, right = dict(given), dict(stored)
    if "profile" not in left:
        right.pop("profile", None)
    return left == right
