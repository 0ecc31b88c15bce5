"""`misc encode`: pictures to `.misc` files on this machine."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, as_flag, fail_usage, failures, usage_errors
from cli.local.encode_tables import open_tables
from cli.local.encode_task import RESULT_KEYS, EncodeTask, died, done_before, encode_one, has_stand_in, reference_path
from cli.local.file_plan import Pair, Plan, fault_results, plan_outputs, run_all
from cli.local.source_records import SourceRecords
from cli.local.streams import STANDARD, check_streams
from cli.output import print_json, say, show
from codec.media import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from codec.captions import Captions
    from codec.encode.coarse.external import Reference
    from codec.encode.dependencies import Fallback
    from codec.errors import CaptionsError
    from core.settings import LMMSettings

_HELP = """Encode pictures to .misc files.

One picture becomes one file; several pictures, or a folder, fill a folder and keep their relative paths. A second \
run over a folder skips what is done. - is stdin or stdout, for one picture.

Examples:

  misc encode photo.jpg -o photo.misc

  misc encode holiday/ -o archive/ --mode ref --max-bpp 0.05

  misc encode photo.png -o photo.misc --describe captions.csv

  misc encode holiday/ -o archive/ --csv archive.csv
"""


_FORCE_HELP = (
    "Encode again what is done already: files newer than their picture with the mode, grid, level, codec, maps and "
    "given texts asked for, and within --max-bpp. A file does not tell whether another version of the describer or "
    "somebody by hand wrote its texts where none are given now, nor whether it was made for a smaller --max-bpp."
)


_AT_LEAST_HELP = (
    "The same, and at a higher rate again, up to 3, where it is less than this, as ms-ssim-rgb=0.8; of a distance the "
    "figure is the most, as lpips-alex=0.3."
)


class OnOff(StrEnum):
    """A switch with a value, as in `--maps off`."""

    ON = "on"
    """Yes."""
    OFF = "off"
    """No."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("encode", help=_HELP)(encode)


def encode(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures or folders of pictures.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="The .misc file, or a folder.")],
    mode: Annotated[
        str | None, typer.Option(help="How the coarse picture is coded: pixel, net or ref (ref; sd21: pixel).")
    ] = None,
    describe: Annotated[
        str, typer.Option(metavar="local|openai|none|FILE", help="Who says what is there; FILE is CSV or JSON.")
    ] = "local",
    batch: Annotated[
        bool, typer.Option("--batch", help="openai: through its Batch API, at half the price and within a day.")
    ] = False,
    fallback: Annotated[
        str | None,
        typer.Option(
            metavar="fail|local|none",
            help="openai: what follows where it gives nothing: failure, the built-in describer, or no texts (fail).",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Your own overall description, kept exactly.")] = None,
    maps: Annotated[OnOff, typer.Option(help="Store where each item is; off keeps the overall text only.")] = OnOff.ON,
    blocks: Annotated[int | None, typer.Option(help="pixel: blocks along the long edge (32).")] = None,
    level: Annotated[int | None, typer.Option(help="pixel: low bits dropped from each channel (3).")] = None,
    published_grid: Annotated[
        bool, typer.Option("--published-grid", help="pixel: the grid of the published code; --blocks is its edge.")
    ] = False,
    map_edge: Annotated[int | None, typer.Option(help="Blocks along a map's edge, 4 to 16 (8).")] = None,
    rate: Annotated[int | None, typer.Option(help="1 to 3: 0.02, 0.03, 0.05 bpp; net: its network.")] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="net: weights by name, see `misc weights list`.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="net: code the picture reduced by 1, 2, 4 or 8 (what the network is made for).")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="ref: avif, webp, jxl or jpeg.")] = None,
    max_bpp: Annotated[float | None, typer.Option(help="ref: bits per pixel of the whole file (0.05).")] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="ref: a finished picture of another codec, stored beside OUT.")
    ] = None,
    reference_bpp: Annotated[float | None, typer.Option(help="What that codec spent, in bits per pixel.")] = None,
    profile: Annotated[str | None, typer.Option(help="Set of networks: lite or sd21.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode each at once, and tell how good it comes back.")
    ] = False,
    verify_at_least: Annotated[str | None, typer.Option(metavar="METRIC=FIGURE", help=_AT_LEAST_HELP)] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes for many pictures.")] = os.cpu_count() or 1,
    keep_metadata: Annotated[
        bool,
        typer.Option(
            "--keep-metadata",
            help="Write when and where it was taken, and the file's date, to NAME.meta.json.",
        ),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out of folders what fits it, as *_small.jpg or raw; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table with a row for each picture, written as they end.")
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The results of --json, one a line, written as they end.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Encode pictures; the help text is `_HELP`."""
    given = {
        "mode": "ref" if reference is not None and mode is None else mode,
        "text": text,
        "blocks": blocks,
        "level": level,
        "map_edge": map_edge,
        "rate": rate,
        "network": network,
        "scale": scale,
        "codec": codec,
        "max_bpp": max_bpp,
        "profile": profile,
        "verify_at_least": verify_at_least,
    }
    values = {name: value for name, value in given.items() if value is not None}
    values |= {"maps": maps is OnOff.ON, "published_grid": published_grid, "batch": batch, "verify": verify}
    with usage_errors(OSError):
        check_streams(inputs, out, as_json=as_json)
        plan = plan_outputs(inputs, out, PICTURE_SUFFIXES, ".misc", exclude or ())
        if plan.is_single and not force:
            _check_name(plan.pairs[0].target)
        tasks = _tasks(plan, values, describe, reference, reference_bpp, may_skip=not force)
        if keep_metadata and STANDARD in (tasks[0].pair.source, tasks[0].pair.target) if tasks else False:
            raise fail_usage("--keep-metadata tells of a file and writes beside one; name both.")
        tasks = _with_outcomes([replace(task, keeps_metadata=keep_metadata) for task in tasks], fallback)
        tables = open_tables(csv, jsonl)
    faults = fault_results(plan.faults, RESULT_KEYS)
    with tables:
        for fault in faults:
            tables.add(fault)
        # Networks have all processors busy from one process, and each process would load its own.
        processes = 1 if any(task.options.is_verified for task in tasks) else jobs
        results = run_all(encode_one, tasks, processes, "Encoding", died, tables.add)
    stand_ins = [task for task, result in zip(tasks, results, strict=False) if has_stand_in(task, result["describer"])]
    _report(results + faults, plan.left_out, len(stand_ins), as_json)


def _tasks(
    plan: Plan,
    values: dict[str, Any],
    describe: str,
    reference_path: Path | None,
    reference_bpp: float | None,
    *,
    may_skip: bool,
) -> list[EncodeTask]:
    """Everything that can be wrong with the call as a whole is found here, before any picture is opened."""
    from cli.local.paths import weights_store
    from cli.local.verified_encode import quality_meter
    from codec.encode.pipeline import check_options
    from codec.nets.compression.load import record_of
    from codec.options import Describer, EncodeOptions, Mode, check_mode_of_options, parse_options

    captions = None
    if describe in list(Describer):
        values["describe"] = describe
    else:
        captions = _load_captions(Path(describe))
    options = parse_options(EncodeOptions, values, as_flag)
    check_mode_of_options(options, [name for name, value in values.items() if value is not False], as_flag)
    reference = None
    if reference_path is not None or reference_bpp is not None:
        reference = _load_reference(plan, reference_path, reference_bpp)
    check_options(options, has_captions=captions is not None, has_reference=reference is not None)
    if options.mode is Mode.NET:
        record_of(weights_store(), name=options.network, profile=options.profile, rate=options.rate)
    suffix = reference_path.suffix if reference_path is not None else ""
    if options.is_verified:
        quality_meter().check(options)
    # A file does not tell how good it came back.
    may_skip = may_skip and not plan.is_single and reference is None and not options.is_verified
    records = SourceRecords(plan.folder) if plan.folder is not None else None
    former = records.load() if records is not None else {}
    return [
        EncodeTask(
            pair,
            options,
            *_captions_of(pair, captions),
            reference,
            suffix,
            may_skip,
            records=records,
            former=former.get(records.key(pair.target)) if records is not None else None,
        )
        for pair in plan.pairs
    ]


def _check_name(target: Path) -> None:
    """A stream under the name of a picture would replace that picture, and nothing would open it."""
    if target.suffix.lower() in PICTURE_SUFFIXES:
        raise fail_usage(f"{target} is the name of a picture; a stream is called {target.stem}.misc. --force takes it.")


def _captions_of(pair: Pair, captions: "Captions | None") -> "tuple[Captions | None, CaptionsError | None]":
    """What the table says of one picture, or why it says nothing; the table stays here."""
    from codec.errors import CaptionsError

    try:
        return (None, None) if captions is None else (captions.only(str(pair.source)), None)
    except CaptionsError as error:
        return None, error


def _with_outcomes(tasks: list[EncodeTask], fallback: str | None) -> list[EncodeTask]:
    """The same tasks with the language model's descriptions, where they are to come from it."""
    from codec.encode.describe.choose import no_model

    if not any(task.needs_model for task in tasks):
        if fallback is not None and tasks:
            raise fail_usage("--fallback belongs to --describe openai.")
        return tasks
    from cli.local.describe_remote import describe_all
    from cli.local.paths import data_folder, earlier_data_folder
    from core.settings import LMMSettings, load

    lmm = load(LMMSettings)
    if not lmm.is_configured:
        raise no_model()
    follows = _fallback(fallback, lmm)
    sources = [task.pair.source for task in tasks if not task.may_skip or done_before(task) is None]
    outcomes = describe_all(
        sources, lmm, data_folder(), follows, earlier=earlier_data_folder(), in_batches=tasks[0].options.batch
    )
    return [replace(task, outcome=outcomes.get(task.pair.source)) for task in tasks]


def _fallback(asked: str | None, lmm: "LMMSettings") -> "Fallback":
    """What was asked for here or, by its variable, for everything on this machine; else failure: a folder of which the
    built-in describer made half would look done, and not be what was asked for."""
    from codec.encode.dependencies import Fallback

    if asked is None:
        return Fallback(lmm.fallback) if "fallback" in lmm.model_fields_set else Fallback.FAIL
    if asked not in list(Fallback):
        raise fail_usage(f"--fallback must be fail, local or none, not {asked!r}.")
    return Fallback(asked)


def _load_captions(path: Path) -> "Captions":
    from codec.captions import load_captions

    if not path.is_file():
        raise fail_usage(f"--describe must be local, openai, none or a file; there is no file {path}.")
    return load_captions(path)


def _load_reference(plan: Plan, path: Path | None, bpp: float | None) -> "Reference":
    from codec.encode.coarse.external import Reference

    if path is None or bpp is None:
        raise fail_usage("--reference IMAGE and --reference-bpp X belong together; give both.")
    if len(plan.pairs) != 1:
        raise fail_usage("--reference is the reference of one picture; encode one at a time with it.")
    (pair,) = plan.pairs
    if pair.target == STANDARD:
        raise fail_usage("A reference is stored beside the file that names it; give -o a name.")
    reference_file = reference_path(pair.target, path.suffix)
    if reference_file.exists() and reference_file.samefile(pair.source):
        raise fail_usage(
            f"{reference_file} would be overwritten by the reference that lies beside {pair.target}; rename it."
        )
    return Reference(path.read_bytes(), bpp)


def _report(results: list[dict[str, Any]], left_out: Sequence[str], stand_ins: int, as_json: bool) -> None:
    for result in results:
        if result["error"] is not None:
            say(f"{result['input']}: {result['error']['message']}")
        for note in result.get("notes") or ():
            say(f"{result['input']}: {note}")
    for sentence in left_out:
        say(sentence)
    if stand_ins and len(results) > 1:
        say(f"misc: {stand_ins} were not described by the model; the same call asks it about them again.")
    if as_json:
        print_json({"results": results, "left_out": list(left_out)})
    else:
        _show(results)
    if failures(results):
        raise typer.Exit(FAILED)


def _show(results: list[dict[str, Any]]) -> None:
    done = [result for result in results if result["error"] is None]
    if any(result["output"] == str(STANDARD) for result in results):
        return  # stdout has the file
    for result in done:
        bits = ", ".join(f"{part} {count // 8}" for part, count in result["bits"].items())
        state = " (was done)" if result["skipped"] else ""
        declared = f", {result['bpp_declared']:.4f} bpp declared" if "bpp_declared" in result else ""
        show(f"{result['output']}: {result['bytes']} bytes, {result['bpp']:.4f} bpp{declared} ({bits} bytes){state}")
        if quality := result.get("quality"):
            show(
                "  comes back with " + ", ".join(f"{name} {figure:.3f}" for name, figure in quality["figures"].items())
            )
    if len(results) > 1:
        skipped = sum(result["skipped"] for result in done)
        show(f"{len(done) - skipped} encoded, {skipped} done before, {failures(results)} failed")
    elif done:
        show(f"See it with: misc decode {shlex.quote(done[0]['output'])} -o back.png")
