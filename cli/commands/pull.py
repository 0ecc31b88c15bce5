"""`misc pull`: streams or reconstructions from a server into a folder."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, as_flag, describe_error, fail_usage, failures, usage_errors
from cli.local.kept_metadata import metadata_document, metadata_path
from cli.local.streams import STANDARD, write_output
from cli.output import print_json, progress_bar, say, show
from cli.restore_options import (
    CoarseGuidance,
    ColourFix,
    GuidanceFrom,
    GuidanceTo,
    MaskEdges,
    NegativePrompt,
    PositivePrompt,
    RescaleCFG,
    Samples,
)
from cli.server.remote import (
    DeadlineOption,
    KeyOption,
    Priority,
    PriorityOption,
    ServerOption,
    connected,
    find_batch,
    urgency,
)

if TYPE_CHECKING:
    from cli.server.client import Client, ClientError

_STEM_LIMIT_BYTES = 200
"""File systems take 255 bytes of name; the id, the suffix and those of a file that is being written come on top."""

_HELP = """Fetch images from a server: the picture, restored, or the .misc file itself.

A file that is there already is not fetched again. Names are those of the originals, with the end of the id; of a \
batch, in the folders that they were pushed from. -o - \
writes the file of one image to stdout.

Examples:

  misc pull img_01kb2c9q0r5w3v7x1y8z4t6n2m -o back/

  misc pull --all -o archive/ --bitstream

  misc pull --batch holiday -o back/
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull", help=_HELP)(pull)


def pull(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Images.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All images that are ready.")] = False,
    batch: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="All of this batch that are ready; of a name the newest.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to fetch into.")] = Path(),
    bitstream: Annotated[
        bool, typer.Option("--bitstream/--picture", help="The .misc file, or the picture (the default).")
    ] = False,
    picture_format: Annotated[str, typer.Option("--format", help="png, webp or avif.")] = "png",
    restorer: Annotated[
        str | None, typer.Option(help="The restorer: gan (the default of lite), diffusion (of sd21) or smooth.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="fast or staged.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the restorer.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strictly the text is followed.")] = None,
    solver: Annotated[str | None, typer.Option(help="Solver of the restorer.")] = None,
    strength: Annotated[float | None, typer.Option(help="How strongly the coarse picture holds: 0 to 2.")] = None,
    res: Annotated[int | None, typer.Option(help="Pixels that the short edge is raised to while restoring.")] = None,
    network_set: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="sd21: which of several sets restores, as diffbir-v2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Source of the noise; from the stream without it.")] = None,
    profile: Annotated[str | None, typer.Option(help="Set of networks: lite or sd21.")] = None,
    positive_prompt: PositivePrompt = None,
    negative_prompt: NegativePrompt = None,
    rescale_cfg: RescaleCFG = False,
    guidance_from: GuidanceFrom = None,
    guidance_to: GuidanceTo = None,
    coarse_guidance: CoarseGuidance = None,
    colour_fix: ColourFix = None,
    mask_edges: MaskEdges = None,
    stage: Annotated[
        str | None,
        typer.Option(help="Which picture of those on the way: coarse, clean, item-1 to item-3 (staged) or final."),
    ] = None,
    samples: Samples = 1,
    keep_metadata: Annotated[
        bool,
        typer.Option("--keep-metadata", help="Write to NAME.meta.json what the server kept of when and where."),
    ] = False,
    priority: PriorityOption = None,
    deadline: DeadlineOption = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    server: ServerOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Fetch; the help text is `_HELP`."""
    from codec.options import DecodeOptions, parse_options

    if [everything, bool(ids), batch is not None].count(True) != 1:
        raise fail_usage("Name the images to fetch, or give --all, or --batch NAME.")
    if picture_format not in ("png", "webp", "avif"):
        raise fail_usage(f"--format is png, webp or avif, not {picture_format!r}.")
    given = {
        "restorer": restorer, "schedule": schedule, "steps": steps, "guidance": guidance, "solver": solver,
        "strength": strength, "res": res, "network_set": network_set, "seed": seed, "profile": profile,
        "positive_prompt": positive_prompt, "negative_prompt": negative_prompt, "rescale_cfg": rescale_cfg or None,
        "guidance_from": guidance_from, "guidance_to": guidance_to,
        "coarse_guidance": coarse_guidance, "colour_fix": colour_fix, "mask_edges": mask_edges, "stage": stage,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    with usage_errors():
        parse_options(DecodeOptions, options, as_flag)
    more: dict[str, Any] = {"format": picture_format} | ({"samples": samples} if samples > 1 else {})
    if priority is None and len(ids or ()) != 1:
        priority = Priority.BULK
    more |= urgency(priority, deadline)
    order = None if bitstream else options | more
    if out == STANDARD:
        if as_json or len(ids or ()) != 1 or samples > 1 or keep_metadata:
            raise fail_usage(
                "-o - is the file of one image on stdout: name one, without --json, --samples and --keep-metadata."
            )
        _to_stdout(ids[0] if ids else "", order, server, key)
        return
    with connected(server, key) as client:
        batch_id = None if batch is None else find_batch(client, batch)
        wanted: list[dict[str, Any] | str] = list(ids or ()) or list(client.images(state="ready", batch_id=batch_id))
        with progress_bar(len(wanted), "Fetching") as bar, ThreadPoolExecutor(4) as pool:

            def _one(image: dict[str, Any] | str) -> list[dict[str, Any]]:
                folder = out / _folder_of(image) if batch_id is not None and isinstance(image, dict) else out
                fetched = _fetched(client, image, folder, order, may_skip=not force)
                if keep_metadata:
                    _write_metadata(client, image, fetched)
                bar.advance("")
                return fetched

            results = [result for fetched in pool.map(_one, wanted) for result in fetched]
    _report(results, as_json)


def _to_stdout(image_id: str, order: dict[str, Any] | None, server: str | None, key: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="misc-pull-") as folder:
        with connected(server, key) as client, progress_bar(1, "Fetching"):
            (result,) = _fetched(client, image_id, Path(folder), order, may_skip=False)
        if result["error"] is not None:
            say(f"{image_id}: {result['error']['message']}")
            raise typer.Exit(FAILED)
        write_output(STANDARD, Path(result["output"]).read_bytes())


def _fetched(
    client: "Client", image: dict[str, Any] | str, out: Path, order: dict[str, Any] | None, *, may_skip: bool
) -> list[dict[str, Any]]:
    """Fetch one image, or the samples of it that are ordered; an error becomes part of the results."""
    from cli.server.client import ClientError, path_of

    image_id = image if isinstance(image, str) else image["id"]
    samples = 1 if order is None else order.get("samples", 1)
    results = [_nothing_yet(image_id) for _ in range(samples)]
    try:
        row = client.image(image) if isinstance(image, str) else image
        for sample, result in enumerate(results):
            ending = f"_{sample}" if samples > 1 else ""
            target = out / _file_name(row, "misc" if order is None else order["format"], ending)
            result["output"] = str(target)
            if may_skip and _is_there(target, row if order is None else None):
                result |= {"bytes": target.stat().st_size, "skipped": True}
        if all(result["skipped"] for result in results):
            return results
        if order is None:
            results[0]["bytes"] = client.download(path_of("images", image_id, "bitstream"), Path(results[0]["output"]))
            return results
        answer = client.order_reconstruction(image_id, order)
    except (ClientError, OSError) as error:
        return [result if result["skipped"] else result | {"error": _error_of(error)} for result in results]
    for result, ordered in zip(results, answer.get("samples") or [answer], strict=True):
        if not result["skipped"]:
            _fetch_painted(client, ordered, result)
    return results


def _nothing_yet(image_id: str) -> dict[str, Any]:
    return {
        "image": image_id,
        "output": None,
        "bytes": None,
        "reconstruction": None,
        "skipped": False,
        "error": None,
    }


def _fetch_painted(client: "Client", ordered: dict[str, Any], result: dict[str, Any]) -> None:
    """Fetch a reconstruction once it is ready; the error of its job becomes part of the result."""
    from cli.server.client import ClientError, path_of

    result["reconstruction"] = reconstruction_id = str(ordered["reconstruction"]["id"])
    try:
        client.wait_for_success(ordered["job"]["id"])
        content = path_of("reconstructions", reconstruction_id, "content")
        result["bytes"] = client.download(content, Path(result["output"]))
    except (ClientError, OSError) as error:
        result["error"] = _error_of(error)


def _write_metadata(client: "Client", image: dict[str, Any] | str, results: list[dict[str, Any]]) -> None:
    """Write beside each file what the server kept of the picture, where it kept anything."""
    from cli.server.client import ClientError

    for result in results:
        if result["error"] is not None:
            continue
        try:
            row = client.image(image) if isinstance(image, str) else image
            if (kept := row.get("metadata")) is not None:  # servers of before had none
                capture = {name: value for name, value in kept.items() if name != "modified_at"}
                document = metadata_document(row["name"], kept["modified_at"], capture)
                write_output(metadata_path(Path(result["output"])), document)
        except (ClientError, OSError) as error:
            result["error"] = _error_of(error)


def _error_of(error: "ClientError | OSError") -> dict[str, str]:
    return describe_error(error) if isinstance(error, OSError) else {"code": error.code, "message": str(error)}


def _folder_of(image: dict[str, Any]) -> PurePosixPath:
    """The folders that a picture was pushed from, none of which leads elsewhere whatever the server says."""
    parts = PurePosixPath((image.get("folder") or "").replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part.strip(". ") and "/" not in part and ":" not in part))


def _file_name(image: dict[str, Any], extension: str, ending: str = "") -> str:
    """A name that no other image has, and that stays in the folder whatever the server says."""
    stem = PurePosixPath(image["name"].replace("\\", "/")).stem.strip(". ") or "picture"
    # A character may take four bytes, and a character that was cut in the middle is left out.
    stem = stem.encode(errors="replace")[:_STEM_LIMIT_BYTES].decode(errors="ignore")
    return f"{stem}-{image['id'][-8:]}{ending}.{extension}"


def _is_there(target: Path, image: dict[str, Any] | None) -> bool:
    """True for a file that needs no fetching; a stream is compared with its digest."""
    import hashlib

    if not target.is_file():
        return False
    return image is None or hashlib.sha256(target.read_bytes()).hexdigest() == image["bitstream_sha256"]


def _report(results: list[dict[str, Any]], as_json: bool) -> None:
    for result in results:
        if result["error"] is not None:
            say(f"{result['image']}: {result['error']['message']}")
    if as_json:
        print_json({"results": results})
    else:
        for result in results:
            if result["error"] is None:
                show(f"{result['output']}: {result['bytes']} bytes{' (was there)' if result['skipped'] else ''}")
        if not results:
            show("There is nothing to fetch.")
    if failures(results):
        raise typer.Exit(FAILED)
