"""`misc push`: pictures to a server, in parallel, each once."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.encode import OnOff
from cli.errors import FAILED, as_flag, fail_usage, failures, usage_errors
from cli.local.file_selection import select_files
from cli.local.stream_files import STREAM_SUFFIX, is_stream, without_companions
from cli.local.streams import STANDARD, check_streams, read_input
from cli.output import group_bar, print_json, progress_bar, say, show
from cli.report.batch_report import batch_report_lines
from cli.server.remote import URGENCY, DeadlineOption, KeyOption, PriorityOption, ServerOption, connected, urgency
from codec.media import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from cli.local.manifest import ManifestEntry
    from cli.server.client import Client
    from cli.server.group import Group, GroupName
    from cli.server.push_history import PushHistory
    from cli.server.upload import Outcome, Picture
    from codec.captions import Captions

_HELP = """Send pictures to a server, which encodes and keeps them.

Folders are sent with everything below them, as one batch that keeps their structure. What was sent before, with the \
same options, is not sent again, so the same command goes on after anything that ended it. - is one picture from stdin.
.misc files are taken in as they are, in no batch, external ones with the NAME.ref.* beside them, and with \
--keep-metadata what NAME.meta.json says of when and where.

Examples:

  misc push photo.jpg

  misc push holiday/ --batch holiday --mode ref --max-bpp 0.05

  misc push holiday/ --manifest-out holiday.jsonl

  misc push archive/
"""

_CONTRARY = "Give {flag} as a flag or in --options, not both."


@dataclass(frozen=True)
class _Source:
    """Where pictures come from, and who says what is in them."""

    inputs: list[Path]
    describe: str | None = None
    exclude: Sequence[str] = ()
    manifest: Path | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("push", help=_HELP)(push)


def push(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures, .misc files or folders of them.")],
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
    manifest_in: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Send what its JSON lines name: {"name": path below IN, "options": {}}.'),
    ] = None,
    manifest_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what became of each picture as JSON lines.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out of folders what fits it, as *_small.jpg or raw; repeatable."),
    ] = None,
    keep_original: Annotated[bool, typer.Option("--keep-original", help="Let the server keep the originals.")] = False,
    keep_metadata: Annotated[
        bool,
        typer.Option("--keep-metadata", help="Let the server keep when and where they were taken, and files' dates."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Have the server decode each at once and measure it.")
    ] = False,
    verify_at_least: Annotated[
        str | None, typer.Option(metavar="METRIC=FIGURE", help="As misc encode; below it the original is kept.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they are encoded.")] = True,
    uploads: Annotated[int, typer.Option(min=1, max=32, help="Uploads at a time.")] = 4,
    priority: PriorityOption = None,
    deadline: DeadlineOption = None,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Send pictures; the help text is `_HELP`."""
    flags: dict[str, Any] = {
        "mode": mode, "text": text, "maps": None if maps is None else maps is OnOff.ON, "blocks": blocks,
        "level": level, "published_grid": published_grid, "rate": rate, "codec": codec, "max_bpp": max_bpp,
        "profile": profile, "keep_original": keep_original or None,
        "keep_metadata": keep_metadata or None, "verify": verify or None, "verify_at_least": verify_at_least,
    } | urgency(priority, deadline)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="misc-push-") as spool:
        with usage_errors(OSError):
            check_streams(inputs, "", as_json=as_json)
            values = _merged(options, {name: value for name, value in flags.items() if value is not None})
            # How urgent pictures are does not make them others, which are not there yet.
            soon = {name: values.pop(name) for name in URGENCY if name in values}
            source = _Source(inputs, describe, exclude or (), manifest_in)
            files, left_out = _pictures(source, values, Path(spool))
            streams = [file for file in files if is_stream(file.path)]
            pictures = [file for file in files if not is_stream(file.path)]
            _check_pictures(pictures, values, batch)
            name = _group_name(inputs, batch, len(pictures)) if pictures else None
            if manifest_out is not None and name is None:
                raise fail_usage("--manifest-out is for a folder or a batch: name one, or give --batch NAME.")
        from cli.server.group_push import PATIENCE_SECONDS

        with connected(server, key) as client, _told_how_to_go_on():
            if name is None:
                outcomes, report = _push_alone(client, pictures, uploads, soon, wait=wait), None
            else:
                client.patience_seconds = PATIENCE_SECONDS
                group = _open_group(client, name, is_shared=batch is not None)
                outcomes, report = _push_group(client, group, pictures, uploads, soon, wait=wait)
                if manifest_out is not None:
                    group.save_manifest(manifest_out)
            if streams:
                outcomes += _push_alone(client, streams, uploads, {}, wait=False)
    _report(outcomes, left_out, report, as_json)


def _check_pictures(pictures: "list[Picture]", values: dict[str, Any], batch: str | None) -> None:
    """Raise OptionError for what means nothing to streams, where nothing else is sent."""
    from codec.errors import OptionError

    for_pictures = [name for name in values if name != "keep_metadata"]
    if not pictures and (batch is not None or for_pictures):
        flag = "--batch" if batch is not None else as_flag(for_pictures[0])
        raise OptionError(f"{flag} is for pictures; .misc files are taken in as they are.")


def _group_name(inputs: list[Path], batch: str | None, pictures: int) -> "GroupName | None":
    """What the batch is called that the pictures go into: as was said, else after the folder that all of them lie in.
    None for a single picture."""
    from cli.server.group import GroupName

    if batch is not None:
        return GroupName.chosen(batch)
    folders = [path.resolve() if path.is_dir() else path.resolve().parent for path in inputs if path != STANDARD]
    if not folders or (pictures < 2 and not any(path.is_dir() for path in inputs)):
        return None
    return GroupName.of_folder(Path(commonpath(folders)))


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("misc: Stopped. What the server has goes on; the same command sends what is missing.")
        raise


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


def _open_group(client: "Client", name: "GroupName", *, is_shared: bool) -> "Group":
    from cli.server.group import Group

    return Group.open(client, _history(), name, is_shared=is_shared)


def _history() -> "PushHistory":
    from cli.server.push_history import PushHistory, default_path

    return PushHistory(default_path())


def _push_alone(
    client: "Client", pictures: "list[Picture]", uploads: int, soon: Mapping[str, Any], *, wait: bool
) -> "list[Outcome]":
    from cli.server.upload import Sender, send_each, wait_for

    with progress_bar(len(pictures), "Sending") as bar:
        send = Sender(client, _history(), urgency=soon).send
        outcomes = send_each(send, pictures, uploads, lambda: bar.advance(""))
    if wait:
        with progress_bar(len(outcomes), "Encoding") as bar:
            for outcome in outcomes:
                if outcome.error is None:
                    outcome.attempt(partial(wait_for, client, outcome))
                bar.advance("")
    return outcomes


def _push_group(
    client: "Client",
    group: "Group",
    pictures: "list[Picture]",
    uploads: int,
    soon: Mapping[str, Any],
    *,
    wait: bool,
) -> "tuple[list[Outcome], dict[str, Any]]":
    """Send what the batch has not, and follow all of it; returns the server's report too."""
    from cli.server.group_push import follow_group, send_group

    with progress_bar(len(pictures), "Sending") as bar:
        outcomes = send_group(
            client, _history(), group, pictures,
            uploads=uploads, urgency=soon, on_sent=lambda: bar.advance(""),
        )  # fmt: skip
    if wait:
        with group_bar("Encoding") as note:

            def _note(batch: dict[str, Any]) -> None:
                expected = batch["expected"] or 0
                note(round(batch["progress"] * expected), expected, batch["seconds_left"])

            follow_group(group, outcomes, _note)
    return outcomes, group.report()


def _pictures(source: _Source, values: dict[str, Any], spool: Path) -> tuple[list["Picture"], Sequence[str]]:
    """What is to be sent, and sentences on what a folder holds beside. `spool` takes what does not come from a file."""
    from cli.server.upload import Picture, check_options, name_of
    from codec.options import Describer

    captions: Captions | None = None
    if source.describe in list(Describer):
        values["describe"] = source.describe
    elif source.describe is not None:
        from codec.captions import load_captions

        captions = load_captions(Path(source.describe))
    check_options(values)
    if source.manifest is not None:
        found = [
            _described(Picture(source.inputs[0] / one.name, one.name, values | one.options), captions)
            for one in _entries(source)
        ]
        return found, []
    selection = select_files(source.inputs, PICTURE_SUFFIXES | {STREAM_SUFFIX}, source.exclude)
    taken, doubles = without_companions([path for path, _ in selection.files], source.inputs)
    folders = [path for path in source.inputs if path.is_dir()] if len(source.inputs) > 1 else []
    pictures = [
        _described(_spooled(Picture(path, _name(path, below, folders), values), spool), captions)
        for path, below in selection.files
        if path in taken
    ]
    faults = [Picture(Path(fault.filename), name_of(Path(fault.filename)), values, fault) for fault in selection.faults]
    return pictures + faults, [*selection.left_out, *doubles]


def _entries(source: _Source) -> "list[ManifestEntry]":
    """The lines of the manifest; raises OptionError also for options that are none, which costs no upload so."""
    from cli.local.manifest import read_manifest
    from cli.server.upload import check_options

    assert source.manifest is not None
    if len(source.inputs) != 1 or not source.inputs[0].is_dir():
        raise fail_usage("--manifest-in names pictures of one folder: give that folder.")
    entries = read_manifest(source.manifest)
    for entry in entries:
        check_options(entry.options)
    return entries


def _name(path: Path, below: Path, folders: Sequence[Path]) -> str:
    """What a picture is called at the server: its path within the folder, with that one's name where there are several
    inputs."""
    from cli.server.upload import name_of

    top = next((folder.resolve().name for folder in folders if folder in path.parents), "")
    return name_of(Path(top) / below)


def _spooled(picture: "Picture", spool: Path) -> "Picture":
    """The picture with a file of its own, where its input can be read only once."""
    data = read_input(picture.path)
    if isinstance(data, Path):
        return picture
    name = "stdin" if picture.path == STANDARD else picture.path.name
    (spool / name).write_bytes(data)
    return replace(picture, path=spool / name, shown=picture.path, name=name)


def _described(picture: "Picture", captions: "Captions | None") -> "Picture":
    from codec.errors import CaptionsError

    if captions is None or is_stream(picture.path):
        return picture
    try:
        found = captions.lookup(str(picture.shown or picture.path))
    except CaptionsError as error:
        return replace(picture, fault=error)
    items = [{"name": item.name, "detail": item.detail} for item in found.items]
    return replace(picture, options=picture.options | {"description": {"items": items, "overall": found.overall}})


def _report(outcomes: "list[Outcome]", left_out: Sequence[str], report: dict[str, Any] | None, as_json: bool) -> None:
    results = [outcome.as_json() for outcome in outcomes]
    for result in results:
        if result["error"] is not None:
            say(f"{result['input']}: {result['error']['message']}")
        for note in result["notes"]:
            say(f"{result['input']}: {note}")
    for sentence in left_out:
        say(sentence)
    if as_json:
        print_json({"results": results, "left_out": list(left_out), "report": report})
    else:
        for result in results:
            if result["error"] is None:
                size = f", {result['bytes']} bytes, {result['bpp']:.4f} bpp" if result["bpp"] is not None else ""
                before = " (sent before)" if result["skipped"] else ""
                show(f"{result['image']}  {result['input']}: {result['state']}{size}{before}")
        for line in batch_report_lines(report) if report is not None else ():
            show(line)
    if failures(results):
        raise typer.Exit(FAILED)
