"""`misc eval`: rate and quality of this codec and its peers over a folder of pictures. `codec.metrics` compares."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, describe_error, fail_usage, usage_errors
from cli.local.file_plan import describe_fault, run_all
from cli.local.file_selection import Selection, select_files
from cli.output import print_json, say, show
from codec.atomic_files import write_atomically
from codec.errors import FeatureUnavailable, OptionError
from codec.media import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from PIL import Image

    from codec.captions import Captions
    from codec.metrics.compare import Comparison, Row
    from codec.metrics.outside import OutsideCodec
    from codec.metrics.own import Setting
    from codec.metrics.registry import Metrics

_HELP = """Compare this codec with AVIF, WebP, JPEG XL and JPEG over a folder of pictures.

Every picture is encoded at three rates and decoded again, and each peer gets the scale, setting and quality that look \
best within the same bytes, whole files counted. docs/evaluation.md says what the metrics are.

Examples:

  misc eval photos/

  misc eval photos/ --peers avif --page compare.html --plot curves.png
"""

_SHOWN_PICTURES = 24
"""Pictures on a page; more would make it too large to open."""

_SHOWN_RATE = 2
"""The middle one of the three."""


@dataclass(frozen=True)
class _Call:
    """The options of the call, as values that another process can be sent."""

    profile: str
    mode: str | None
    describe: str
    maps: bool
    restorer: str | None
    peers: tuple[str, ...]
    processes: int
    outside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Task:
    source: Path
    name: str
    number: int
    call: _Call
    folder: Path | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval", help=_HELP)(evaluate)


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures, or one picture.")],
    mode: Annotated[str | None, typer.Option(help="pixel, net or ref; ref without it, and pixel for sd21.")] = None,
    describe: Annotated[
        str, typer.Option(metavar="local|none|FILE", help="Who says what is there; FILE is CSV or JSON.")
    ] = "local",
    maps: Annotated[str, typer.Option(metavar="on|off", help="Store where each item is.")] = "on",
    restorer: Annotated[str | None, typer.Option(help="gan, diffusion or smooth; what is here.")] = None,
    profile: Annotated[str | None, typer.Option(help="Set of networks: lite or sd21.")] = None,
    peers: Annotated[
        str | None, typer.Option(metavar="LIST", help="Of avif,webp,jxl,jpeg, or none; all that are here.")
    ] = None,
    outside: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Pictures that another codec made (VVC, HiFiC, ...), with one CSV file: file,bytes; repeatable.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Rate and quality as .png, .svg or .pdf.")] = None,
    compressai: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CompressAI's JSON form; peers beside it, NAME-PEER.json.")
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="One HTML page, pictures side by side.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes. Seconds are worth comparing with one process only.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare over a folder; the help text is `_HELP`."""
    with usage_errors(OSError):
        selection = _select(folder)
        sources = [(path, str(name)) for path, name in selection.files]
        processes = min(jobs, len(sources))
        call = _call_of(profile, mode, describe, maps, restorer, peers, processes)
        call = replace(call, outside=tuple(outside or ()))
        comparison = _comparison(call)
        if plot is not None:
            from codec.metrics.plot import require_plots

            require_plots(plot)
    for sentence in selection.left_out:
        say(sentence)
    for fault in selection.faults:
        say(f"{fault.filename}: {describe_fault(fault)['message']}")
    for metric, reason in comparison.metrics.left_out.items():
        say(f"{metric} is left out: {reason}.")
    with tempfile.TemporaryDirectory(prefix="misc-eval-") as kept:
        kept_in = Path(kept) if page is not None else None
        tasks = [_Task(source, name, number, call, kept_in) for number, (source, name) in enumerate(sources)]
        if processes == 1:
            with usage_errors(OSError):
                comparison.own.warm_up(comparison.settings)
        results = run_all(evaluate_one, tasks, jobs, "Comparing", _died)
        rows = [row for result in results for row in result["rows"]]
        document = _document(rows, comparison)
        for image in document["images"]:
            if image["error"] is not None:
                say(f"{image['source']} ({image['codec']}): {image['error']['message']}")
        if as_json:
            print_json(document)
        else:
            _show(document["summary"])
        # After the figures, which took long: a folder that cannot be written to must not lose them.
        with usage_errors(OSError):
            if page is not None:
                write_atomically(page, _page(rows, document["summary"], tasks, comparison).encode())
            _write(document, comparison, plot, compressai)
    if selection.faults or any(image["error"] is not None for image in document["images"]):
        raise typer.Exit(FAILED)


def _select(folder: Path) -> Selection:
    if not folder.exists():
        raise OptionError(f"There is no folder {folder}.")
    selection = select_files([folder], PICTURE_SUFFIXES)
    if not selection.files:
        raise OptionError(f"Nothing in {folder} can be read: {selection.faults[0]}.")
    return selection


def _call_of(
    profile: str | None,
    mode: str | None,
    describe: str,
    maps: str,
    restorer: str | None,
    peers: str | None,
    processes: int,
) -> _Call:
    from cli.local.networks import default_profile

    if maps not in ("on", "off"):
        raise fail_usage(f"--maps must be on or off, not {maps}.")
    if describe == "openai":
        raise fail_usage(
            "A comparison asks no model: encode with --describe openai, or write its answers to a file and name "
            "that with --describe."
        )
    if describe not in ("local", "none") and not Path(describe).is_file():
        raise fail_usage(f"--describe must be local, none or a file; there is no file {describe}.")
    return _Call(profile or default_profile().value, mode, describe, maps == "on", restorer, _peers(peers), processes)


def _peers(named: str | None) -> tuple[str, ...]:
    """The peers of `--peers`; those that are missing here are an error only where they were named."""
    peers_module = _metrics_package()
    if named == "none":
        return ()
    if named is None:
        here: tuple[str, ...] = peers_module.peers_here()
        for peer in peers_module.PEERS:
            if peer not in here:
                say(f"{peer} is left out: it cannot be written on this machine.")
        return here
    chosen = tuple(dict.fromkeys(part.strip() for part in named.split(",") if part.strip()))
    unknown = [peer for peer in chosen if peer not in peers_module.PEERS]
    if unknown or not chosen:
        known = ", ".join(peers_module.PEERS)
        raise fail_usage(f"--peers takes {known}, or none; not {', '.join(unknown) or named!r}.")
    for peer in chosen:
        peers_module.require_peer(peer)
    return chosen


def _metrics_package() -> Any:
    """The module of the peers, which needs what all of `codec.metrics` needs."""
    try:
        import codec.metrics.peer_formats as peers
        import codec.metrics.registry  # noqa: F401 - what it needs is missing together with PyTorch
    except ImportError as error:
        raise FeatureUnavailable(
            f"Comparing needs PyTorch and more ({error.name} is missing): pip install 'misc-archive[eval]'."
        ) from None
    return peers


@lru_cache(maxsize=1)
def _comparison(call: _Call) -> "Comparison":
    """Built once in each process, with its networks."""
    from cli.local.networks import restorers
    from cli.local.paths import weights_store
    from codec.captions import load_captions
    from codec.metrics.compare import Comparison
    from codec.metrics.own import OwnCodec, restorer_here, settings_of
    from codec.metrics.registry import load_metrics, share_processors
    from codec.options import Mode, Profile, RestorerName

    share_processors(call.processes)
    captions: Captions | None = None
    describe = call.describe
    if describe not in ("local", "none"):
        captions, describe = load_captions(Path(describe)), "local"
    profile = _member(Profile, call.profile, "--profile")
    if call.restorer is None:
        restorer = restorer_here(restorers(), profile)
    else:
        restorer = _member(RestorerName, call.restorer, "--restorer")
    settings: tuple[Setting, ...] = settings_of(
        weights_store(),
        profile=profile,
        mode=None if call.mode is None else _member(Mode, call.mode, "--mode"),
        describe=describe,
        maps=call.maps,
        restorer=restorer,
    )
    restorers().check(settings[0].decode)
    metrics: Metrics = load_metrics()
    own = OwnCodec(weights_store(), restorers())
    return Comparison(own, settings, metrics, call.peers, captions, outside=_outside(call))


def _outside(call: _Call) -> "tuple[OutsideCodec, ...]":
    """The codecs of `--outside`, each by a name of its own."""
    from codec.metrics.compare import OURS, OURS_COARSE
    from codec.metrics.outside import load_outside

    codecs: list[OutsideCodec] = []
    for folder in call.outside:
        codec = load_outside(folder)
        if codec.name in (OURS, OURS_COARSE, *call.peers, *(other.name for other in codecs)):
            raise OptionError(f"--outside {folder}: {codec.name} takes part already; call the folder something else.")
        codecs.append(codec)
    return tuple(codecs)


def _member(kind: Any, value: str, option: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise OptionError(f"{option} must be one of {', '.join(kind)}, not {value}.") from None


def evaluate_one(task: _Task) -> dict[str, Any]:
    """The rows of one picture; an error of the picture or of our own codec is a row of its own."""
    from codec.metrics.compare import OURS, Row, compare_picture
    from codec.picture.open import open_picture

    try:
        picture = open_picture(task.source)
        return {
            "rows": compare_picture(
                picture, task.name, _comparison(task.call), source_name=task.source.name, keep=_keeper(task)
            )
        }
    except Exception as error:  # noqa: BLE001 - one bad picture must not stop the rest; its row carries the error
        return {"rows": [Row(task.name, OURS, 0, error=error)]}


def _died(task: _Task) -> dict[str, Any]:
    from codec.metrics.compare import OURS, Row

    return {"rows": [Row(task.name, OURS, 0, error=MemoryError())]}


def _keeper(task: _Task) -> "Callable[[str, int, Image.Image], None]":
    """Writes what a page will need, each picture under its number."""

    def keep(codec: str, rate: int, picture: "Image.Image") -> None:
        if task.folder is None or task.number >= _SHOWN_PICTURES:
            return
        folder = kept_folder(task.folder, codec, rate)
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{task.number}.png", compress_level=1)

    return keep


def _page(rows: "list[Row]", summary: list[dict[str, Any]], tasks: list[_Task], comparison: "Comparison") -> str:
    from cli.report.eval_page import build_page
    from codec.metrics.compare import ORIGINAL

    pictures = {}
    for task in tasks[:_SHOWN_PICTURES]:
        if task.folder is None:
            continue
        for codec, rate in [(ORIGINAL, 0), *dict.fromkeys((row.codec, _SHOWN_RATE) for row in rows)]:
            file = kept_folder(task.folder, codec, rate) / f"{task.number}.png"
            if file.is_file():
                pictures[task.name, codec] = file
    outside = [codec.name for codec in comparison.outside]
    return build_page(rows, summary, pictures, _SHOWN_RATE, comparison.metrics.is_distance, outside)


def kept_folder(folder: Path, codec: str, rate: int) -> Path:
    """Where the pictures of one codec and rate lie while the command runs."""
    return folder / f"{codec}-{rate}"


def _document(rows: "list[Row]", comparison: "Comparison") -> dict[str, Any]:
    from codec.metrics.summary import summarise

    return {
        "images": [as_json(row) for row in rows],
        "summary": summarise(rows),
        "left_out": comparison.metrics.left_out,
    }


def as_json(row: "Row") -> dict[str, Any]:
    """A row as `--json` shows it."""
    return {
        "source": row.source,
        "codec": row.codec,
        "rate": row.rate,
        "bpp": row.bpp,
        "bytes": row.bytes,
        "metrics": row.metrics,
        "undefined": row.undefined,
        "encode_seconds": row.encode_seconds,
        "decode_seconds": row.decode_seconds,
        **row.details,
        "error": None if row.error is None else describe_error(row.error),
    }


def _write(document: dict[str, Any], comparison: "Comparison", plot: Path | None, compressai: Path | None) -> None:
    import json

    from codec.metrics.compare import OURS
    from codec.metrics.plot import plot_rates
    from codec.metrics.summary import compressai_form

    summary = document["summary"]
    count = len({image["source"] for image in document["images"] if image["error"] is None})
    if plot is not None:
        plot_rates(plot, summary, comparison.metrics.is_distance, f"{count} pictures, means")
    if compressai is not None and summary:
        setting = comparison.settings[0]
        mode = "" if setting.encode.mode is None else setting.encode.mode.value
        words = f"mode {mode}, restorer {setting.decode.restorer_name.value}, {count} pictures"
        for codec in dict.fromkeys(entry["codec"] for entry in summary):
            path = compressai if codec == OURS else compressai.with_name(f"{compressai.stem}-{codec}.json")
            within = words if codec.startswith(OURS) else f"within the bytes of {OURS}, {words}"
            if codec in {outside.name for outside in comparison.outside}:
                within = f"pictures and bytes as given, {count} pictures"
            form = compressai_form(codec, summary, within)
            write_atomically(path, (json.dumps(form, indent=1) + "\n").encode())


def _show(summary: list[dict[str, Any]]) -> None:
    if not summary:
        return
    names = list(summary[0]["metrics"])
    show(f"{'codec':12} {'rate':>4} {'bpp':>7} " + " ".join(f"{name:>11}" for name in names) + "  encode  decode  over")
    for entry in sorted(summary, key=lambda entry: entry["rate"]):
        values = [entry["metrics"].get(name) for name in names]
        cells = " ".join(f"{value:11.4f}" if value is not None else f"{'-':>11}" for value in values)
        seconds = " ".join(
            f"{'-':>7}" if entry[name] is None else f"{entry[name]:6.2f}s"
            for name in ("encode_seconds", "decode_seconds")
        )
        over = f"{entry['over_budget']:5d}" if "over_budget" in entry else f"{'':5}"
        show(f"{entry['codec']:12} {entry['rate']:4d} {entry['bpp']:7.4f} {cells} {seconds} {over}")
