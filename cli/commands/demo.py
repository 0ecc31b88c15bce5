"""`misc demo`: real photos through the whole service and back, with a table and a page at the end.

Runs a service of its own, which no MISC_ variable of the environment reaches and of which nothing is left running.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, fail_usage, usage_errors
from cli.output import nothing_told, say, show, told_now_and_then

if TYPE_CHECKING:
    from cli.report.demo_page import ShownPicture
    from cli.server.client import Client
    from cli.up.stack import EmbeddedStack

_HELP = """Send photos through the whole service on this machine and look at what comes back.

Without a path it takes four photos that come with scikit-image. Leaves a page with before and after, the .misc \
files and the pictures.

Example: misc demo photo.jpg --out demo-out
"""

PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1


@dataclass
class _Trip:
    """One picture on its way there and back."""

    source: Path
    name: str
    image_id: str = ""
    encode_job: str = ""
    decode_job: str = ""
    reconstruction_id: str = ""
    stage: str = "waiting"
    progress: float = 0.0
    error: str | None = None
    is_done: bool = False
    image: dict[str, Any] = field(default_factory=dict)
    reconstruction: dict[str, Any] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=_HELP)(demo)


def demo(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH...]", help="Pictures or folders.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the page.")] = Path("demo-out"),
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the service's data here; else it goes at the end.")
    ] = None,
) -> None:
    """Run the whole of it; the help text is `_HELP`."""
    from cli.local.file_selection import select_files
    from cli.server.client import ClientError
    from cli.up.data_folder import StackError
    from codec.media import PICTURE_SUFFIXES

    with usage_errors():
        sources = [path for path, _ in select_files(paths, PICTURE_SUFFIXES).files] if paths else scikit_photos()
    for source in sources:
        if not source.is_file():
            raise fail_usage(f"There is no file {source}. Check the name.")
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    started = time.monotonic()
    try:
        with _stack(data) as stack, stack.client() as client:
            say(f"misc: the service was ready after {time.monotonic() - started:.1f} s, at {stack.base_url}")
            trips = _travel(client, sources)
            shown = [_bring_back(client, trip, out) for trip in trips if trip.error is None]
    except (StackError, ClientError) as error:
        say(f"misc: {error}")
        raise typer.Exit(FAILED) from None
    failed = [trip for trip in trips if trip.error is not None]
    for trip in failed:
        say(f"{trip.source}: {trip.error}")
    if shown:
        page = _write_page(out, shown)
        _show_table(shown)
        show(f"{len(shown)} of {len(trips)} pictures went there and back in {time.monotonic() - started:.1f} s.")
        show(f"Look at {page.resolve().as_uri()}")
    if failed:
        raise typer.Exit(FAILED)


def scikit_photos() -> list[Path]:
    """Four real photos inside scikit-image's wheel: a person, a still life, an animal and a night scene."""
    import importlib.util

    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise fail_usage("The four photos come with scikit-image, which is not installed; name a picture instead.")
    return [Path(spec.origin).parent / "data" / name for name in PHOTOS]


def isolated_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without our settings: a demonstration must not write into somebody's archive. When networks are
    loaded is a matter of the machine."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("MISC_") or name == "MISC_WORKER_WARM_UP"
    }


def _leave(number: int, _frame: object) -> None:
    # As an exception, so that every block that has to end something does.
    raise SystemExit(128 + number)


@contextmanager
def _stack(data: Path | None) -> Iterator["EmbeddedStack"]:
    from cli.up.stack import EmbeddedStack

    folder = Path(tempfile.mkdtemp(prefix="misc-demo-")) if data is None else data
    try:
        with EmbeddedStack(folder, 0, environment=isolated_environment(os.environ)) as stack:
            with told_now_and_then(lambda: f"waiting for {stack.waits_for} ..."):
                stack.wait_ready(_READY_SECONDS)
            yield stack
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)


def _travel(client: "Client", sources: Sequence[Path]) -> list[_Trip]:
    """Send everything, then look at every job until all have ended."""
    trips = [_Trip(source, name) for source, name in zip(sources, _distinct_names(sources), strict=True)]
    with _progress(trips) as show_progress:
        for trip in trips:
            _send(client, trip)
            show_progress(trip)
        while any(not trip.is_done for trip in trips):
            for trip in trips:
                if not trip.is_done:
                    _look(client, trip)
                    show_progress(trip)
            time.sleep(_POLL_SECONDS)
    return trips


def _send(client: "Client", trip: _Trip) -> None:
    import secrets

    from cli.server.client import ClientError, Upload

    try:
        response = client.submit_picture(Upload(trip.source, trip.source.name, secrets.token_hex(16)), {})
    except ClientError as error:
        _fail(trip, str(error))
        return
    trip.image_id, trip.encode_job = response["image"]["id"], response["job"]["id"]


def _look(client: "Client", trip: _Trip) -> None:
    job = client.job(trip.decode_job or trip.encode_job)
    half = 0.5 if trip.decode_job else 0.0
    trip.progress = half + job["progress"] / 2
    verb = "decode" if trip.decode_job else "encode"
    trip.stage = f"{verb}: {job['stage'] or job['state']}"
    if job["state"] in ("failed", "cancelled"):
        message = job["error"]["message"] if job["error"] else "nobody says why"
        _fail(trip, f"its {verb} job {job['state']}: {message}")
    elif job["state"] == "succeeded" and trip.decode_job:
        trip.image = client.image(trip.image_id)
        trip.reconstruction = client.reconstruction(trip.reconstruction_id)
        trip.stage, trip.progress, trip.is_done = "back", 1.0, True
    elif job["state"] == "succeeded":
        response = client.order_reconstruction(trip.image_id, {})
        trip.decode_job, trip.reconstruction_id = response["job"]["id"], response["reconstruction"]["id"]


def _fail(trip: _Trip, message: str) -> None:
    trip.error, trip.stage, trip.is_done = message, "failed", True


def _bring_back(client: "Client", trip: _Trip, out: Path) -> "ShownPicture":
    """Fetch the stream and the picture, and hold both against what the service says of them."""
    from PIL import Image

    from cli.report.demo_page import ShownPicture
    from cli.server.client import ClientError
    from codec.bitstream import unpack
    from codec.picture.open import open_picture

    stream_path, picture_path = out / f"{trip.name}.misc", out / f"{trip.name}.png"
    client.download(f"/v1/images/{trip.image_id}/bitstream", stream_path)
    client.download(f"/v1/reconstructions/{trip.reconstruction_id}/content", picture_path)
    before = open_picture(trip.source)
    with Image.open(picture_path) as file:
        after = file.convert("RGB")
    bits = unpack(stream_path.read_bytes()).bits
    if after.size != before.size:
        raise ClientError("demo_failed", f"{trip.source} is {before.size}, but what came back is {after.size}.")
    if not bits.total == sum(trip.image["bits"].values()) == 8 * stream_path.stat().st_size:
        raise ClientError("demo_failed", f"The bits of {stream_path} do not add up to its bytes.")
    return ShownPicture(trip.source.name, before, after, trip.image, trip.reconstruction)


def _write_page(out: Path, shown: Sequence["ShownPicture"]) -> Path:
    from cli.report.demo_page import build_page
    from codec.atomic_files import write_atomically

    page = out / "index.html"
    write_atomically(page, build_page(shown).encode())
    return page


def _distinct_names(sources: Sequence[Path]) -> list[str]:
    """Names of the output files: the stems, with a number where two pictures have the same."""
    names: list[str] = []
    for source in sources:
        name, number = source.stem, 2
        while name in names:
            name, number = f"{source.stem}-{number}", number + 1
        names.append(name)
    return names


@contextmanager
def _progress(trips: Sequence[_Trip]) -> Iterator[Any]:
    """Bars on a terminal; elsewhere a line for each stage of each picture."""
    if not sys.stderr.isatty():
        last_stages: dict[int, str] = {}

        def _say(trip: _Trip) -> None:
            if last_stages.get(id(trip)) != trip.stage:
                last_stages[id(trip)] = trip.stage
                say(f"  {trip.source.name:16} {trip.progress:4.0%}  {trip.stage}")

        yield _say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:16}"), BarColumn(), TextColumn("{task.fields[stage]:20}"))
    with nothing_told(), Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bars = {id(trip): progress.add_task(trip.source.name, total=1.0, stage=trip.stage) for trip in trips}
        yield lambda trip: progress.update(bars[id(trip)], completed=trip.progress, stage=trip.stage)


def _show_table(shown: Sequence["ShownPicture"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="container, text, maps and coarse in bits; encode and decode in seconds")
    table.add_column("picture", overflow="fold")
    for name in ("size", "bytes", "bpp", "container", "text", "maps", "coarse", "encode", "decode"):
        table.add_column(name, justify="right", no_wrap=True)
    for picture in shown:
        image, bits = picture.image, picture.image["bits"]
        table.add_row(
            picture.name,
            f"{image['width']} x {image['height']}",
            str(image["bitstream_bytes"]),
            f"{image['bpp']:.4f}",
            *(str(bits[part]) for part in ("container", "text", "maps", "coarse")),
            f"{image['seconds']['total']:.2f}",
            f"{picture.reconstruction['seconds']['total']:.2f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
