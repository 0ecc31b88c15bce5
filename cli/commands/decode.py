"""`misc decode`: `.misc` files to pictures on this machine."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli.errors import FAILED, as_flag, fail_usage, failures, usage_errors
from cli.local.file_plan import (
    Pair,
    Plan,
    died_result,
    error_result,
    fault_results,
    is_newer,
    plan_outputs,
    run_all,
)
from cli.local.stream_files import fits, references_beside
from cli.local.streams import STANDARD, check_streams, read_input, write_output
from cli.output import print_json, say, show, step_bar
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
from codec.atomic_files import is_special

if TYPE_CHECKING:
    from codec.options import DecodeOptions
    from codec.picture.save import PictureFormat

_KEYS = ("width", "height", "schedule", "stage", "seed", "seconds")

_HELP = """Decode .misc files to pictures.

The suffix of OUT says which format is written: .png, .webp, .avif or .jpg; in a folder, to a \
device and to stdout it is --format. - is stdin or stdout. What a decoder made says so \
in its metadata. The picture beside an external stream (NAME.ref.EXT beside NAME.misc) is found by itself.

Examples:

  misc decode photo.misc -o photo.png

  misc decode archive/ -o pictures/ --format webp
"""


@dataclass(frozen=True)
class _Task:
    pair: Pair
    options: "DecodeOptions"
    format: "PictureFormat"
    reference: Path | None
    may_skip: bool
    shows_steps: bool = False
    sample: int = 0
    """Added to the seed."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decode", help=_HELP)(decode)


def decode(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help=".misc files or folders of them.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="The picture file, or a folder.")],
    restorer: Annotated[
        str | None,
        typer.Option(
            help="The restorer: gan (the default of lite), diffusion (of sd21), or smooth, which has no network."
        ),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="fast or staged.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps, where the restorer has them.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale, where the restorer has one.")] = None,
    solver: Annotated[str | None, typer.Option(help="ddpm, dpmpp-2m, unipc or euler.")] = None,
    strength: Annotated[float | None, typer.Option(help="How strongly the coarse picture holds: 0 to 2.")] = None,
    res: Annotated[int | None, typer.Option(help="Pixels that the short edge is raised to while restoring.")] = None,
    network_set: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="sd21: which of several sets restores, as diffbir-v2.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise; else derived from the stream.")] = None,
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
        list[str] | None,
        typer.Option(
            help="Which picture of those on the way: coarse, clean, item-1 to item-3 (staged) or final; several, by "
            "repeating it, are called NAME.clean and so on."
        ),
    ] = None,
    samples: Samples = 1,
    reference: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="The picture that an external stream names.")
    ] = None,
    format: Annotated[str, typer.Option(help="In a folder or to stdout: png, webp, avif or jpeg.")] = "png",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes for many files; one where networks restore, else one for each processor."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Decode again what is done already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Decode files; the help text is `_HELP`."""
    given = {
        "restorer": restorer,
        "schedule": schedule,
        "steps": steps,
        "guidance": guidance,
        "solver": solver,
        "strength": strength,
        "res": res,
        "network_set": network_set,
        "seed": seed,
        "profile": profile,
        "positive_prompt": positive_prompt,
        "negative_prompt": negative_prompt,
        "rescale_cfg": rescale_cfg or None,
        "guidance_from": guidance_from,
        "guidance_to": guidance_to,
        "coarse_guidance": coarse_guidance,
        "colour_fix": colour_fix,
        "mask_edges": mask_edges,
    }
    values = {name: value for name, value in given.items() if value is not None}
    with usage_errors(OSError):
        check_streams(inputs, out, as_json=as_json)
        plan, tasks = _tasks(inputs, out, values, reference, format, may_skip=not force)
        tasks = _with_variants(tasks, list(dict.fromkeys(stage or ())), samples)
    processes = jobs or (_processes(tasks[0].options) if tasks else 1)
    _import_no_more_than_needed(tasks)
    results = run_all(decode_one, tasks, processes, "Decoding", lambda task: died_result(task.pair, _KEYS))
    _report(results + fault_results(plan.faults, _KEYS), plan.left_out, as_json)


def _tasks(
    inputs: list[Path], out: str, values: dict[str, Any], reference: Path | None, format: str, *, may_skip: bool
) -> tuple[Plan, list[_Task]]:
    """Everything that can be wrong with the call as a whole is found here, before any file is opened."""
    from cli.local.networks import default_profile
    from cli.local.paths import mark_signer
    from codec.decode.restore import NEEDS_NETWORKS
    from codec.options import DecodeOptions, parse_options
    from codec.picture.save import MEDIA_TYPES, format_for

    options = parse_options(DecodeOptions, {"profile": default_profile()} | values, as_flag)
    if format not in MEDIA_TYPES:
        raise fail_usage(f"--format must be one of {', '.join(MEDIA_TYPES)}, not {format}.")
    plan = plan_outputs(inputs, out, {".misc"}, ".jpg" if format == "jpeg" else f".{format}")
    if reference is not None and len(plan.pairs) != 1:
        raise fail_usage("--reference is the reference of one stream; decode one at a time with it.")
    mark_signer()  # A certificate that cannot sign is told of before an hour of work.
    may_skip = may_skip and not plan.is_single
    formats = [
        cast("PictureFormat", format)
        if pair.target == STANDARD or (is_special(pair.target) and not pair.target.suffix)
        else format_for(pair.target.suffix)
        for pair in plan.pairs
    ]
    if options.restorer_name in NEEDS_NETWORKS and sys.stderr.isatty():
        say("Loading networks ...")
    shows_steps = len(plan.pairs) == 1
    return plan, [
        _Task(pair, options, format, reference, may_skip, shows_steps)
        for pair, format in zip(plan.pairs, formats, strict=True)
    ]


def _with_variants(tasks: list[_Task], stages: list[str], samples: int) -> list[_Task]:
    """Each task once for every stage and sample; where there are several, they are in the names."""
    from cli.local.networks import restorers
    from codec.options import DecodeOptions, DecodeStage, RestorerName, parse_options

    if len(stages or [""]) * samples > 1 and any(
        task.pair.target == STANDARD or is_special(task.pair.target) for task in tasks
    ):
        raise fail_usage("Several pictures of one stream need a file or a folder as their output, not - or a device.")
    variants = []
    for stage in stages or [DecodeStage.FINAL.value]:
        for sample in range(samples):
            endings = (f".{stage}" if len(stages) > 1 and stage != DecodeStage.FINAL else "") + (
                f"_{sample}" if samples > 1 else ""
            )
            variants.append((stage, sample, endings))
    varied = []
    for task in tasks:
        for stage, sample, endings in variants:
            options = parse_options(DecodeOptions, task.options.model_dump() | {"stage": stage}, as_flag)
            if samples > 1 and options.restorer_name is not RestorerName.DIFFUSION:
                raise fail_usage(
                    f"--samples differ by their noise, and the restorer {options.restorer_name} has none; "
                    f"add --restorer diffusion."
                )
            target = task.pair.target
            pair = replace(task.pair, target=target.with_name(f"{target.stem}{endings}{target.suffix}"))
            varied.append(replace(task, pair=pair if endings else task.pair, options=options, sample=sample))
    for options in dict.fromkeys(task.options for task in varied):
        restorers().check(options)
    return varied


def _processes(options: "DecodeOptions") -> int:
    """Networks fill the device, or all processors, from one process; and each process would load its own."""
    from codec.decode.restore import NEEDS_NETWORKS

    return 1 if options.restorer_name in NEEDS_NETWORKS else os.cpu_count() or 1


def _import_no_more_than_needed(tasks: list[_Task]) -> None:
    """A picture of lite takes less time than all of PyTorch takes to be imported."""
    from codec.nets.loading.lean_torch import leave_out_tracing
    from codec.options import RestorerName
    from core.settings import NetworkSettings, load

    if all(task.options.restorer_name is RestorerName.GAN for task in tasks) and not load(NetworkSettings).compile:
        leave_out_tracing()


def decode_one(task: _Task) -> dict[str, Any]:
    """Decode one file and write its picture; an error becomes part of the result."""
    try:
        return _decode_one(task)
    except Exception as error:  # noqa: BLE001 - one bad file must not stop the rest; the result carries the error
        return error_result(task.pair, _KEYS, error)


def _decode_one(task: _Task) -> dict[str, Any]:
    from cli.local.networks import restorers
    from cli.local.paths import find_network, mark_signer
    from cli.version import software
    from codec.bitstream import ExternalCoarse, unpack
    from codec.decode.pipeline import decode as decode_stream
    from codec.picture.save import require_format, save_picture

    data = _read_stream(task.pair.source)
    if task.may_skip and (done := _done_before(task, data)) is not None:
        return done
    reference = None
    task = replace(task, options=_seeded(task, data))
    stream = unpack(data).stream
    require_format(task.format, stream.width, stream.height)
    if isinstance(stream.coarse, ExternalCoarse):
        reference = _find_reference(task.pair.source, task.reference, stream.coarse.digest)
    with restorers().use(task.options) as restorer, step_bar("Painting", is_shown=task.shows_steps) as bar:
        decoded = decode_stream(
            data,
            task.options,
            reference=reference,
            restorer=restorer,
            find_network=find_network,
            on_step=lambda state: bar.stand(state.steps_done, state.steps_total),
        )
    file = save_picture(decoded.picture, task.format, decoded.provenance(software()), mark_signer())
    write_output(task.pair.target, file)
    result = _result(task, *decoded.picture.size, decoded.schedule, decoded.seed)
    return result | {
        "restorer": decoded.restorer,
        "generative": decoded.generative,
        "weights": decoded.weights,
        "seconds": decoded.seconds,
    }


def _seeded(task: _Task, data: bytes) -> "DecodeOptions":
    """The options with the seed of the task's sample; the first one's is the stream's own, or what was given."""
    from codec.decode.pipeline import seed_from
    from codec.seed import sample_seed

    if task.sample == 0:
        return task.options
    first = task.options.seed if task.options.seed is not None else seed_from(data)
    return task.options.model_copy(update={"seed": sample_seed(first, task.sample)})


def _read_stream(path: Path) -> bytes:
    """The file's bytes, but of a file that is too large only as many as show that it is."""
    from codec.limits import MAX_STREAM_BYTES

    source = read_input(path)
    if isinstance(source, bytes):
        return source[: MAX_STREAM_BYTES + 1]
    with source.open("rb") as file:
        return file.read(MAX_STREAM_BYTES + 1)


def _find_reference(source: Path, named: Path | None, digest: bytes) -> bytes | None:
    """The picture that an external stream names: the one given, else the file NAME.ref.* beside it that fits."""
    if named is not None:
        return named.read_bytes()
    files = [path.read_bytes() for path in references_beside(source)]
    return next((data for data in files if fits(data, digest)), next(iter(files), None))


def _result(task: _Task, width: int, height: int, schedule: str, seed: int) -> dict[str, Any]:
    return {
        "input": str(task.pair.source),
        "output": str(task.pair.target),
        "width": width,
        "height": height,
        "schedule": schedule,
        "stage": task.options.stage.value,
        "seed": seed,
        "seconds": None,
        "skipped": False,
        "error": None,
    }


def _done_before(task: _Task, data: bytes) -> dict[str, Any] | None:
    """The result of an earlier run, if its picture's own metadata name this stream, restorer, settings and seed."""
    import hashlib
    from xml.sax.saxutils import quoteattr

    from cli.local.networks import restorers
    from cli.local.paths import mark_signer
    from codec.bitstream import unpack
    from codec.decode.pipeline import seed_from, settings_of, weights_with
    from codec.errors import PictureError
    from codec.picture.credentials import has_credentials
    from codec.picture.open import check_picture
    from codec.picture.save import Provenance

    if not is_newer(task.pair.target, task.pair.source):
        return None
    written = task.pair.target.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    options = _seeded(task, data)
    seed = options.seed if options.seed is not None else seed_from(data)
    weights = weights_with(restorers().weights_of(task.options), unpack(data).stream)
    provenance = Provenance(task.options.restorer_name, digest, seed, False, weights=weights)
    marks = (
        f'misc:StreamSHA256="{digest}"',
        f'misc:Restorer="{task.options.restorer_name}"',
        f"misc:Settings={quoteattr(settings_of(task.options))}",
        f'misc:Weights="{provenance.weights_in_words}"',
        f'misc:Seed="{seed}"',
    )
    if not all(mark.encode() in written for mark in marks) or (mark_signer() and not has_credentials(written)):
        return None
    try:
        info = check_picture(task.pair.target)
    except PictureError:
        return None
    result = _result(task, info.width, info.height, task.options.schedule.value, seed)
    return result | {"skipped": True}


def _report(results: list[dict[str, Any]], left_out: Sequence[str], as_json: bool) -> None:
    for result in results:
        if result["error"] is not None:
            say(f"{result['input']}: {result['error']['message']}")
    for sentence in left_out:
        say(sentence)
    if as_json:
        print_json({"results": results, "left_out": list(left_out)})
    else:
        _show(results)
    if failures(results):
        raise typer.Exit(FAILED)


def _show(results: list[dict[str, Any]]) -> None:
    done = [result for result in results if result["error"] is None]
    if any(result["output"] == str(STANDARD) for result in results):
        return  # stdout has the picture
    for result in done:
        state = "was done" if result["skipped"] else f"{result['seconds']['total']:.1f} s"
        show(f"{result['output']}: {result['width']}x{result['height']}, {state}")
    if len(results) > 1:
        skipped = sum(result["skipped"] for result in done)
        show(f"{len(done) - skipped} decoded, {skipped} done before, {failures(results)} failed")
