"""Pictures on their way to a server, each sent once whatever was sent before. Prints nothing."""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cli.errors import describe_error
from cli.local.file_plan import describe_fault
from cli.local.kept_metadata import file_date, find_metadata
from cli.local.stream_files import find_reference, is_stream
from cli.server.client import Client, ClientError, Upload
from cli.server.group import Group
from cli.server.push_history import PushHistory
from codec.options import EncodeOptions, parse_options

_SERVERS_OWN = frozenset({"keep_original", "keep_metadata"})
"""Options that the codec does not know."""


@dataclass(frozen=True)
class Picture:
    """A picture to be sent: `path` is what is read, `shown` what was named, where that is not a file; `name` is what it
    is called there, with its folders."""

    path: Path
    name: str
    options: dict[str, Any]
    fault: Exception | None = None
    shown: Path | None = None


@dataclass
class Outcome:
    """What became of one input; `error` as in every `--json` result."""

    path: Path
    image: str | None = None
    job: str | None = None
    state: str | None = None
    size_bytes: int | None = None
    bpp: float | None = None
    skipped: bool = False
    notes: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None

    def note(self, image: dict[str, Any]) -> None:
        """Take over how the image stands."""
        self.image, self.state = image["id"], image["state"]
        self.job = image["job"]["id"] if image["job"] is not None else None
        self.size_bytes, self.bpp = image["bitstream_bytes"], image["bpp"]
        self.notes = list(image.get("notes") or ())  # servers of before had none

    def note_line(self, line: dict[str, Any]) -> None:
        """Take over what the line of a manifest says."""
        self.image, self.state, self.size_bytes, self.bpp = line["image_id"], line["state"], line["bytes"], line["bpp"]
        self.notes, self.error = list(line["notes"]), line["error"]
        if self.state == "cancelled":
            self.error = {"code": "cancelled", "message": "Its job was cancelled."}

    def attempt(self, act: Callable[[], None]) -> None:
        """Do it, and note what went wrong: one bad picture must not stop the rest."""
        try:
            act()
        except ClientError as error:
            self.error = {"code": error.code, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are sent and reported
            self.error = describe_error(error)

    def as_json(self) -> dict[str, Any]:
        """The result as it is printed."""
        return {
            "input": str(self.path),
            "image": self.image,
            "job": self.job,
            "state": self.state,
            "bytes": self.size_bytes,
            "bpp": self.bpp,
            "skipped": self.skipped,
            "notes": self.notes,
            "error": self.error,
        }


NO_HURRY: Mapping[str, Any] = MappingProxyType({})


class Sender:
    """Sends pictures to one server, into a batch or not; may be used from many threads."""

    def __init__(
        self,
        client: Client,
        history: PushHistory,
        group: Group | None = None,
        urgency: Mapping[str, Any] = NO_HURRY,
    ) -> None:
        """`urgency`: the options `priority` and `deadline` of all jobs, as far as they are not left to the server."""
        self._client, self._history, self._group = client, history, group
        self._urgency = urgency

    def send(self, picture: Picture) -> Outcome:
        """Send it unless the server has it; errors become part of the outcome. A `.misc` file is taken in as it is."""
        outcome = Outcome(picture.shown or picture.path)
        if picture.fault is not None:
            fault = picture.fault
            outcome.error = describe_fault(fault) if isinstance(fault, OSError) else describe_error(fault)
        else:
            outcome.attempt(partial(self._import if is_stream(picture.path) else self._send, picture, outcome))
        return outcome

    def _import(self, stream: Picture, outcome: Outcome) -> None:
        _check_regular(stream.path)
        upload = Upload(stream.path, stream.name, _fresh("push"))
        metadata = find_metadata(stream.path) if stream.options.get("keep_metadata") is True else None
        answer = self._client.import_bitstream(upload, find_reference(stream.path), metadata)
        outcome.skipped = not answer["is_new"]
        outcome.note(answer["image"])

    def _send(self, picture: Picture, outcome: Outcome) -> None:
        _check_regular(picture.path)
        with picture.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if self._group is None:
            self._send_alone(picture, sha256, outcome)
        else:
            self._send_into(self._group, picture, sha256, outcome)

    def _send_alone(self, picture: Picture, sha256: str, outcome: Outcome) -> None:
        key = _key_of(sha256, picture.name, picture.options)
        image_id = self._history.find(self._client.server, key)
        image = self._find(image_id) if image_id is not None else None
        outcome.skipped = image is not None
        if image is None:
            # With the old key, the server would answer with an image that was deleted since.
            image = self._submit(picture, picture.options, key if image_id is None else _fresh(key))
            self._history.remember(self._client.server, key, image["id"])
        outcome.note(image)

    def _send_into(self, group: Group, picture: Picture, sha256: str, outcome: Outcome) -> None:
        line = group.find(picture.name, sha256, picture.options)
        if line is not None:
            outcome.skipped = True
            outcome.note_line(line)
            return
        options = picture.options | {"batch_id": group.id}
        key = _key_of(sha256, picture.name, options)
        was_there = group.make_room(picture.name, sha256, picture.options)
        outcome.note(self._submit(picture, options, _fresh(key) if was_there else key))

    def _submit(self, picture: Picture, options: dict[str, Any], key: str) -> dict[str, Any]:
        if picture.shown is None:
            options = with_file_date(options, picture.path)
        options = {**options, **self._urgency}
        response = self._client.submit_picture(Upload(picture.path, picture.name, key), options)
        if response["replayed"] and self._find(response["image"]["id"]) is None:
            response = self._client.submit_picture(Upload(picture.path, picture.name, _fresh(key)), options)
        return dict(response["image"])

    def _find(self, image_id: str) -> dict[str, Any] | None:
        """The image, unless it is gone or came to nothing, in which case sending it again makes sense."""
        try:
            image = self._client.image(image_id)
        except ClientError as error:
            if error.status == 404:
                return None
            raise
        return None if image["state"] in ("failed", "cancelled") else image


def send_each(
    send: Callable[[Picture], Outcome], pictures: Sequence[Picture], uploads: int, on_sent: Callable[[], None]
) -> list[Outcome]:
    """What became of each, in order, so many at a time. Whatever ends it, no further one is begun."""

    def _one(picture: Picture) -> Outcome:
        outcome = send(picture)
        on_sent()
        return outcome

    with ThreadPoolExecutor(uploads) as pool:
        try:
            return list(pool.map(_one, pictures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_options(values: Mapping[str, Any]) -> None:
    """Raise OptionError: found here, a slip costs no upload. Those of `_SERVERS_OWN` the server checks."""
    parse_options(EncodeOptions, {name: value for name, value in values.items() if name not in _SERVERS_OWN})


def wait_for(client: Client, outcome: Outcome) -> None:
    """Return when the picture's job has ended, and note how; raises ClientError."""
    if outcome.state == "pending" and outcome.job is not None:
        job = client.wait_for_job(outcome.job)
        if job["error"] is not None and job["state"] == "failed":
            outcome.error = {"code": job["error"]["code"], "message": job["error"]["message"]}
    if outcome.image is not None:
        outcome.note(client.image(outcome.image))
    if outcome.state == "cancelled":
        outcome.error = {"code": "cancelled", "message": "Its job was cancelled."}


def with_file_date(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """The options of an upload with the date of its file, where they ask to keep that."""
    return ({"modified_at": file_date(path)} if options.get("keep_metadata") is True else {}) | options


def name_of(path: Path) -> str:
    """A relative path as text, with / between folders; what is not UTF-8 in it is replaced."""
    return os.fsencode(path.as_posix()).decode(errors="replace")


def _key_of(sha256: str, name: str, options: dict[str, Any]) -> str:
    request = json.dumps([sha256, name, options], sort_keys=True)
    return f"push-{hashlib.sha256(request.encode()).hexdigest()}"


def _check_regular(path: Path) -> None:
    """Raise OSError for a folder or a device that is called like a picture, or a pipe, which would be waited for."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a file that can be sent", str(path))


def _fresh(key: str) -> str:
    return f"{key}-{secrets.token_hex(4)}"
