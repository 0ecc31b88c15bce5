"""Rate and quality of this codec beside AVIF, WebP, JPEG XL and JPEG on the sets that the project is judged by.

    python -m bench.quality --kodak DIR --aigi DIR [--held-out DIR] [--json FILE]

For every set and rate: means of whole files within the same bytes, what the restorer and the words add, and beside each
figure what was asked for. Then seconds, memory and size of the networks. Trial encodings of the peers and figures are
kept in `--cache`, so that a second run is faster by most of its time, and one that was stopped goes on. Weights come
from --perceptual or MISC_LPIPS_WEIGHTS (LPIPS, DISTS) and --sqz or MISC_SQZ_WEIGHTS; without them those distances are
missing. docs/evaluation.md says how peers are chosen.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from bench.quality_claims import (
    DISTANCE,
    Claim,
    against_wordless,
    claims_of,
    counts,
    mean_of,
    monotone,
    select,
    words,
)
from bench.quality_picture import Plan, Task, comparison_of, measure_picture
from bench.quality_speed import speed_of
from cli.commands.eval import as_json
from cli.local.file_plan import run_all
from cli.local.paths import weights_store
from codec.media import PICTURE_SUFFIXES
from codec.metrics.compare import OURS, OURS_COARSE, Row
from codec.metrics.peer_formats import PEERS, peers_here
from codec.metrics.registry import load_metrics
from codec.metrics.sqz import find_weights
from codec.metrics.summary import summarise
from codec.options import RATE_BUDGETS, Mode, Profile

_SHOWN = {
    "lpips-alex": "alex",
    "lpips-vgg": "vgg",
    "dists": "dists",
    "sqz-dist": "sqz",
    "psnr-rgb": "psnr",
    "ms-ssim-rgb": "ms-ssim",
    "haarpsi": "haarpsi",
    "gmsd": "gmsd",
    "weave": "weave",
}
"""Metrics of the tables, and the heads of their columns."""

_SPEED_SIZE_PX = (768, 512)
_MOST_NETWORK_BYTES = 40_000_000
_MOST_SECONDS = {"encode": 3.0, "decode": 6.0}
_MOST_BYTES = 2_500_000_000


def pictures_in(folder: Path, most: int | None) -> list[Path]:
    """The pictures of a set by name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise SystemExit(f"{folder} has no pictures")
    return found[:most]


def measure_set(folder: Path, plan: Plan, most: int | None) -> list[dict[str, Any]]:
    """What `measure_picture` gives for each picture of a folder, over the plan's processes."""
    sources = pictures_in(folder, most)
    following = [*sources[1:], sources[0]]
    tasks = [Task(source, after, plan) for source, after in zip(sources, following, strict=True)]
    if plan.processes == 1:
        comparison = comparison_of(plan)
        comparison.own.warm_up(comparison.settings)
    results = run_all(measure_picture, tasks, plan.processes, folder.name, lambda task: {})
    lost = [str(task.source) for task, result in zip(tasks, results, strict=True) if not result]
    if lost:
        raise SystemExit(f"a process was killed, probably for want of memory, at {', '.join(lost)}")
    return results


def show_set(
    name: str, results: Sequence[dict[str, Any]], peers: Sequence[str], is_distance: Mapping[str, bool]
) -> None:
    """All tables of a set: one a budget, then what the words add."""
    rows: list[Row] = [row for result in results for row in result["rows"]]
    rates = sorted({row.rate for row in rows})
    ours = next(row for row in rows if row.codec == OURS)
    print(f"\n{name}: {len(results)} pictures, mode {ours.details['mode']}, restorer {ours.details['restorer']}")
    for rate in reversed(rates):
        _show_rate(rows, rate, peers, is_distance)
    print("\nBytes of a peer's file that are left without the wrapper that mode ref rebuilds, where it can:")
    for rate in rates:
        figures = [f"{peer} {_bare_share(select(rows, peer, rate))}" for peer in peers]
        print(f"{rate:4d} {', '.join(figures)}")
    for row in rows:
        if row.error is not None:
            print(f"{row.source}, {row.codec} at rate {row.rate}: {row.error}")
    if any(result["wordless"] for result in results):
        _show_words(results, rates)


def _show_rate(rows: Sequence[Row], rate: int, peers: Sequence[str], is_distance: Mapping[str, bool]) -> None:
    """Means of every codec, our mean over AVIF's, and on how many pictures ours is the better one."""
    budget = f"budget {RATE_BUDGETS[rate]:g} bpp" if rate in RATE_BUDGETS else ""
    heads = " ".join(f"{head:>8}" for head in _SHOWN.values())
    print(f"\n{f'rate {rate}, {budget}':24} {'bpp':>7} {heads} {'over':>5}")
    for codec in (OURS, OURS_COARSE, *peers):
        chosen = select(rows, codec, rate)
        cells = " ".join(_cell(mean_of(chosen, metric), 8) for metric in _SHOWN)
        over = sum(bool(row.details.get("over_budget")) for row in chosen) if codec in peers else ""
        print(f"{codec:24} {_cell(mean_of(chosen, 'bpp'), 7)} {cells} {over:>5}")
    for peer in peers:
        base = {metric: mean_of(select(rows, peer, rate), metric) for metric in _SHOWN}
        ours = {metric: mean_of(select(rows, OURS, rate), metric) for metric in _SHOWN}
        ratios = [None if metric == "weave" else _ratio(ours[metric], base[metric]) for metric in _SHOWN]
        print(f"{f'ours over {peer}':32} {' '.join(_cell(ratio, 8, 3) for ratio in ratios)}")
        better = [counts(rows, rate, metric, is_distance.get(metric, True), peer) for metric in _SHOWN]
        cells = " ".join(f"{won:>5}/{of:2d}" for won, of in better)
        print(f"{f'pictures better than {peer}':32} {cells}")


def _show_words(results: Sequence[dict[str, Any]], rates: Sequence[int]) -> None:
    print(f"\n{DISTANCE} of files with text, and of files without, whose bits went to the coarse picture:")
    heads = f"{'with':>10} {'without: bpp':>13} {'':>8} {'without, equal bpp':>19} {'closer with':>12} {'outside':>8}"
    print(f"{'rate':4} {heads}")
    for rate in rates:
        found = against_wordless(results, rate)
        plain = found["without_text_same_rate"]
        print(
            f"{rate:4d} {_cell(found['with_text'], 10)} {_cell(plain['bpp'], 13)} {_cell(plain[DISTANCE], 8)} "
            f"{_cell(found['without_text_equal_bpp'], 19)} {found['with_text_is_closer']:>6} of {found['pictures']:2d} "
            f"{found['outside']:8d}"
        )
    print("'outside' counts pictures where the curve without text had to be continued beyond its rates.")
    for rate in rates:
        counted = words(results, rate)
        if counted["pictures"]:
            print(
                f"rate {rate}: {DISTANCE} {_cell(counted['right'], 0)} with a picture's own words, "
                f"{_cell(counted['wrong'], 0)} with the next picture's; own closer on {counted['right_is_closer']}, "
                f"equal on {counted['equal']} of {counted['pictures']}"
            )


def show_claims(name: str, claims: Sequence[Claim]) -> None:
    """Figures beside their targets."""
    print(f"\n{name}: asked and measured")
    for claim in claims:
        verdict = {True: "met", False: "NOT MET", None: "-"}[claim.is_met]
        print(f"  {claim.words:70} {claim.figure:>24}   {claim.target:>10}   {verdict}")


def network_claims(profile: str) -> list[Claim]:
    """The size of the profile's networks that are here."""
    store = weights_store()
    records = [record for record in store.records().values() if Profile(profile) in record.profiles]
    size = sum(store.file_of(record).stat().st_size for record in records if store.file_of(record).is_file())
    figure = f"{size / 1e6:.1f} MB in {len(records)} files"
    return [Claim(f"size of the networks of {profile}", figure, "<= 40 MB", size <= _MOST_NETWORK_BYTES)]


def speed_claims(speed: dict[str, dict[str, Any]]) -> list[Claim]:
    """Seconds and memory of one picture; loading stands on a line of its own."""
    claims = []
    for what, found in speed.items():
        seconds, most = found["first_seconds"], _MOST_SECONDS[what]
        figures = f"{seconds:.2f} s, again {found['next_seconds']:.2f} s"
        claims.append(Claim(f"{what} of 768x512", figures, f"<= {most:g} s", seconds <= most))
        loading = f"{found['import_seconds']:.2f} + {found['load_seconds']:.2f} s"
        claims.append(Claim(f"{what}: imports + loading of networks", loading, "told", None))
        peak = found["peak_bytes"]
        claims.append(Claim(f"{what}: peak memory", f"{peak / 1e9:.2f} GB", "<= 2.5 GB", peak <= _MOST_BYTES))
    return claims


def _speed(source: Path, profile: str, rate: int) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="misc-speed-") as folder, Image.open(source) as opened:
        file = Path(folder) / "picture.png"
        picture = opened.convert("RGB")
        if picture.size != _SPEED_SIZE_PX:
            picture = picture.resize(_SPEED_SIZE_PX, Image.Resampling.LANCZOS)
        picture.save(file)
        return speed_of(file, profile, rate)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _bare_share(rows: Sequence[Row]) -> str:
    shares = [
        row.details["bytes_without_wrapper"] / row.bytes
        for row in rows
        if row.details["bytes_without_wrapper"] is not None and row.bytes
    ]
    return f"{sum(shares) / len(shares):.0%} of {len(shares)} files" if shares else "none"


def _cell(value: float | None, width: int, digits: int = 4) -> str:
    return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"


def document_of(results: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> dict[str, Any]:
    """A set's part of the JSON file."""
    rows = [row for result in results for row in result["rows"]]
    rates = sorted({row.rate for row in rows})
    return {
        "summary": summarise(rows),
        "images": [as_json(row) for row in rows],
        "without_text": [as_json(row) for result in results for row in result["wordless"]],
        "against_without_text": {rate: against_wordless(results, rate) for rate in rates},
        "words": {rate: words(results, rate) for rate in rates},
        "monotone": monotone(rows),
        "claims": [asdict(claim) for claim in claims],
    }


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kodak", "aigi", "held-out"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--profile", default="lite", choices=list(Profile))
    parser.add_argument("--mode", choices=list(Mode), help="default: the profile's own")
    parser.add_argument("--restorer", choices=["smooth", "gan", "diffusion"])
    parser.add_argument("--peers", default="avif", metavar="LIST", help=f"of {','.join(PEERS)}; avif without it")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="descriptions instead of the local describer's")
    parser.add_argument(
        "--text-rate",
        type=int,
        nargs="*",
        default=[2],
        help="rates at which words are exchanged; none for no look at words",
    )
    parser.add_argument("--quick", action="store_true", help="leave out LPIPS over VGG16 and DISTS")
    parser.add_argument("--most", type=int, metavar="N", help="pictures of each set")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "misc-quality", metavar="DIR")
    parser.add_argument("--sqz", type=Path, metavar="FILE", help="weights of sqz-dist")
    parser.add_argument("--perceptual", type=Path, metavar="FILE", help="weights of LPIPS and DISTS")
    arguments = parser.parse_args()
    peers = tuple(peer for peer in peers_here() if peer in arguments.peers.split(","))
    plan = Plan(
        profile=arguments.profile,
        mode=arguments.mode,
        restorer=arguments.restorer,
        peers=peers,
        text_rates=tuple(arguments.text_rate),
        captions=arguments.captions,
        cache=arguments.cache,
        sqz=arguments.sqz or find_weights(),
        perceptual=arguments.perceptual,
        is_quick=arguments.quick,
        processes=arguments.jobs,
    )
    folders = {"kodak": arguments.kodak, "aigi": arguments.aigi, "held-out": arguments.held_out}
    given = {name: folder for name, folder in folders.items() if folder is not None}
    if not given:
        parser.error("give --kodak, --aigi or --held-out")
    metrics = load_metrics(plan.sqz, plan.perceptual)
    is_distance = metrics.is_distance
    for metric, reason in metrics.left_out.items():
        print(f"{metric} is left out: {reason}.")
    document: dict[str, Any] = {"sets": {}}
    for name, folder in given.items():
        results = measure_set(folder, plan, arguments.most)
        claims = claims_of(results)
        show_set(name, results, peers, is_distance)
        show_claims(name, claims)
        document["sets"][name] = document_of(results, claims)
    speed = _speed(pictures_in(next(iter(given.values())), 1)[0], arguments.profile, rate=3)
    claims = [*speed_claims(speed), *network_claims(arguments.profile)]
    show_claims("machine", claims)
    document |= {"speed": speed, "claims": [asdict(claim) for claim in claims]}
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
