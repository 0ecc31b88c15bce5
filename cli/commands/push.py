"""`misc push`: pictures to a server, in parallel, each once."""

import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.encode import OnOff
from cli.errors import FAILED, describe_error, fail_usage, failures, usage_errors
from cli.local.file_plan import describe_fault
from cli.local.file_selection import select_files
from cli.local.streams import STANDARD, check_streams, read_input
from cli.output import print_json, progress_bar, say, show
from cli.server.remote import KeyOption, ServerOption, connected
from codec.media import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from cli.server.client import Client
    from cli.server.push_history import PushHistory
    from codec.captions import Captions

_HELP = """Send pictures to a server, which encodes and keeps them.

Folders are sent with everything below them. What was sent before, with the same options, is not sent again. - is \
one picture from stdin.

Examples:

  misc push photo.jpg

  misc push holiday/ --batch holiday --mode ref --max-bpp 0.05
"""

_CONTRARY = "Give {flag} as a flag or in --options, not both."


@dataclass(frozen=True)
class _Task:
    """`path` is what is read; `shown` what was named, where that is not a file."""

    path: Path
    options: dict[str, Any]
    fault: Exception | None = None
    shown: Path | None = None


@dataclass
class _Outcome:
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
    key: str = field(default="", repr=False)

    def as_json(self) -> dict[str, Any]:
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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("push", help=_HELP)(push)


def push(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures or folders of pictures.")],
    mode: Annotated[
        str | None, typer.Option(help="How the coarse picture is coded: pixel, net or ref (ref; sd21: pixel).")
    ] = None,
    describe: Annotated[
        str | None, typer.Option(metavar="local|openai|none|FILE", help="Who says what is there; FILE is CSV or JSON.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Your own overall description, kept exactly.")] = None,
    maps: Annotated[OnOff | None, typer.Option(help="Store where each item is.")] = None,
    blocks: Annotated[int | None, typer.Option(help="pixel: blocks along the long edge.")] = None,
    level: Annotated[int | None, typer.Option(help="pixel: low bits dropped from each channel.")] = None,
    published_grid: Annotated[
        bool | None, typer.Option("--published-grid", help="pixel: the grid of the published code.")
    ] = None,
    rate: Annotated[int | None, typer.Option(help="net: 1 (smallest) to 3.")] = None,
    codec: Annotated[str | None, typer.Option(help="ref: avif, webp, jxl or jpeg.")] = None,
    max_bpp: Annotated[float | None, typer.Option(help="ref: bits per pixel of the whole file.")] = None,
    profile: Annotated[str | None, typer.Option(help="Set of networks: lite or sd21.")] = None,
    options: Annotated[
        str | None, typer.Option(metavar="JSON", help="Options as the HTTP interface takes them; flags add to it.")
    ] = None,
    batch: Annotated[str | None, typer.Option(metavar="NAME", help="Put them into one group of this name.")] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out of folders what fits it, as *_small.jpg or raw; repeatable."),
    ] = None,
    keep_original: Annotated[bool, typer.Option("--keep-original", help="Let the server keep the originals.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they are encoded.")] = True,
    uploads: Annotated[int, typer.Option(min=1, max=32, help="Uploads at a time.")] = 4,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Send pictures; the help text is `_HELP`."""
    flags: dict[str, Any] = {
        "mode": mode, "text": text, "maps": None if maps is None else maps is OnOff.ON, "blocks": blocks,
        "level": level, "published_grid": published_grid, "rate": rate, "codec": codec, "max_bpp": max_bpp,
        "profile": profile, "keep_original": keep_original or None,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="misc-push-") as spool:
        with usage_errors(OSError):
            check_streams(inputs, "", as_json=as_json)
            values = _merged(options, {name: value for name, value in flags.items() if value is not None})
            tasks, left_out = _tasks(inputs, values, describe, exclude or (), Path(spool))
        with connected(server, key) as client:
            outcomes = _run(client, tasks, batch, uploads, wait=wait)
    _report(outcomes, left_out, as_json)


def _merged(text: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    if text is None:
        return flags
    try:
        values = json.loads(text)
    except ValueError as error:
        raise fail_usage(f"--options is no JSON: {error}.") from None
    if not isinstance(values, dict):
        raise fail_usage('--options has to be a JSON object such as {"maps": false}.')
    for name in flags:
        if name in values:
            raise fail_usage(_CONTRARY.format(flag=f"--{name.replace('_', '-')}"))
    return values | flags


def _tasks(
    inputs: list[Path], values: dict[str, Any], describe: str | None, exclude: Collection[str], spool: Path
) -> tuple[list[_Task], Sequence[str]]:
    """What is to be sent, and sentences on what a folder holds beside. `spool` takes what does not come from a file."""
    from codec.options import Describer, EncodeOptions, parse_options

    captions: Captions | None = None
    if describe in list(Describer):
        values["describe"] = describe
    elif describe is not None:
        from codec.captions import load_captions

        captions = load_captions(Path(describe))
    # Found here, a slip costs no upload; `keep_original` is the server's own.
    parse_options(EncodeOptions, {name: value for name, value in values.items() if name != "keep_original"})
    selection = select_files(inputs, PICTURE_SUFFIXES, exclude)
    tasks = [_spooled(_task(path, values, captions), spool) for path, _ in selection.files]
    faults = [_Task(Path(fault.filename), values, fault) for fault in selection.faults]
    return tasks + faults, selection.left_out


def _spooled(task: _Task, spool: Path) -> _Task:
    """The task with a file of its own, where its input can be read only once."""
    data = read_input(task.path)
    if isinstance(data, Path):
        return task
    copy = spool / ("stdin" if task.path == STANDARD else task.path.name)
    copy.write_bytes(data)
    return replace(task, path=copy, shown=task.path)


def _task(path: Path, values: dict[str, Any], captions: "Captions | None") -> _Task:
    from codec.errors import CaptionsError

    if captions is None:
        return _Task(path, values)
    try:
        found = captions.lookup(str(path))
    except CaptionsError as error:
        return _Task(path, values, error)
    items = [{"name": item.name, "detail": item.detail} for item in found.items]
    return _Task(path, values | {"description": {"items": items, "overall": found.overall}})


def _run(client: "Client", tasks: list[_Task], batch: str | None, uploads: int, *, wait: bool) -> list[_Outcome]:
    from cli.server.push_history import PushHistory, default_path

    history = PushHistory(default_path())
    more = {"batch_id": _batch_id(client, history, batch)} if batch is not None else {}
    with progress_bar(len(tasks), "Sending") as bar, ThreadPoolExecutor(uploads) as pool:

        def _one(task: _Task) -> _Outcome:
            outcome = _send_one(client, history, task, more)
            bar.advance("")
            return outcome

        outcomes = list(pool.map(_one, tasks))
    if wait:
        with progress_bar(len(outcomes), "Encoding") as bar:
            for outcome in outcomes:
                if outcome.error is None:
                    _attempt(outcome, partial(_wait_for, client, outcome))
                bar.advance("")
    return outcomes


def _batch_id(client: "Client", history: "PushHistory", name: str) -> str:
    """The group of this name that was made from here, or a new one."""
    from cli.server.client import ClientError

    key = f"batch-{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    known_id = history.find(client.server, key)
    if known_id is not None:
        try:
            client.batch(known_id)
            return known_id
        except ClientError as error:
            if error.status != 404:
                raise
    batch_id = str(client.create_batch(name)["id"])
    history.remember(client.server, key, batch_id)
    return batch_id


def _send_one(client: "Client", history: "PushHistory", task: _Task, more: dict[str, Any]) -> _Outcome:
    outcome = _Outcome(task.shown or task.path)
    if task.fault is not None:
        fault = task.fault
        outcome.error = describe_fault(fault) if isinstance(fault, OSError) else describe_error(fault)
    else:
        _attempt(outcome, partial(_send, client, history, task, task.options | more, outcome))
    return outcome


def _send(client: "Client", history: "PushHistory", task: _Task, options: dict[str, Any], outcome: _Outcome) -> None:
    from cli.server.client import Upload

    _check_regular(task.path)
    with task.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    request = json.dumps([digest, task.path.name, options], sort_keys=True)
    key = f"push-{hashlib.sha256(request.encode()).hexdigest()}"
    image_id = history.find(client.server, key)
    image = _find(client, image_id) if image_id is not None else None
    if image is None:
        # With the old key, the server would answer with an image that was deleted since.
        response = client.submit_picture(
            Upload(task.path, _name_of(task.path), key if image_id is None else _fresh(key)), options
        )
        if response["replayed"] and _find(client, response["image"]["id"]) is None:
            response = client.submit_picture(Upload(task.path, _name_of(task.path), _fresh(key)), options)
        image = response["image"]
        history.remember(client.server, key, image["id"])
    else:
        outcome.skipped = True
    _note(outcome, image)


def _check_regular(path: Path) -> None:
    """Raise OSError for a folder or a device that is called like a picture, or a pipe, which would be waited for."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a file that can be sent", str(path))


def _name_of(path: Path) -> str:
    """The file's name as text; what is not UTF-8 in it is replaced."""
    return os.fsencode(path.name).decode(errors="replace")


def _fresh(key: str) -> str:
    return f"{key}-{secrets.token_hex(4)}"


def _find(client: "Client", image_id: str) -> dict[str, Any] | None:
    """The image, unless it is gone or came to nothing, in which case sending it again makes sense."""
    from cli.server.client import ClientError

    try:
        image = client.image(image_id)
    except ClientError as error:
        if error.status == 404:
            return None
        raise
    return None if image["state"] in ("failed", "cancelled") else image


def _wait_for(client: "Client", outcome: _Outcome) -> None:
    if outcome.state == "pending" and outcome.job is not None:
        job = client.wait_for_job(outcome.job)
        if job["error"] is not None and job["state"] == "failed":
            outcome.error = {"code": job["error"]["code"], "message": job["error"]["message"]}
    if outcome.image is not None:
        _note(outcome, client.image(outcome.image))
    if outcome.state == "cancelled":
        outcome.error = {"code": "cancelled", "message": "Its job was cancelled."}


def _note(outcome: _Outcome, image: dict[str, Any]) -> None:
    outcome.image, outcome.state = image["id"], image["state"]
    outcome.job = image["job"]["id"] if image["job"] is not None else None
    outcome.size_bytes, outcome.bpp = image["bitstream_bytes"], image["bpp"]
    outcome.notes = list(image.get("notes") or ())  # servers of before had none


def _attempt(outcome: _Outcome, act: Callable[[], None]) -> None:
    """Do it, and note what went wrong on the input: one bad picture must not stop the rest."""
    from cli.server.client import ClientError

    try:
        act()
    except ClientError as error:
        outcome.error = {"code": error.code, "message": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are sent and reported
        outcome.error = describe_error(error)


def _report(outcomes: list[_Outcome], left_out: Sequence[str], as_json: bool) -> None:
    results = [outcome.as_json() for outcome in outcomes]
    for result in results:
        if result["error"] is not None:
            say(f"{result['input']}: {result['error']['message']}")
        for note in result["notes"]:
            say(f"{result['input']}: {note}")
    for sentence in left_out:
        say(sentence)
    if as_json:
        print_json({"results": results, "left_out": list(left_out)})
    else:
        for result in results:
            if result["error"] is None:
                size = f", {result['bytes']} bytes, {result['bpp']:.4f} bpp" if result["bpp"] is not None else ""
                before = " (sent before)" if result["skipped"] else ""
                show(f"{result['image']}  {result['input']}: {result['state']}{size}{before}")
    if failures(results):
        raise typer.Exit(FAILED)
