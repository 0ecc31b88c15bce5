"""Ways of decoding side by side, on the same requests and arrivals in one run.

    python -m bench.decode [--ways published half static engine] [--networks full] [--size 512] [--schedule staged]
                           [--load 0.5 0.8 2] [--requests 32] [--compile] [--graphs] [--json FILE] [--plot FILE]
    python -m bench.decode --stages [--networks full] [--size 512] [--json FILE]

`published`: one picture after the other in float32, two network calls a step; `half`: the same in half precision;
`static`: batches of up to 16; `engine`: the decode engine. Requests come all at once, then by a Poisson process at
shares of what `half` does. Where there is a GPU, networks are of the full size with random weights; elsewhere they are
those of lite. `--stages`: each stage of the diffusion restorer once, with its memory for each pixel.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.decode.plot import plot_ways
from bench.decode.stages import measure_stages
from bench.decode.subject import Precision, Subject
from bench.decode.ways import Trial, Way, compare
from codec.metrics.plot import require_plots
from codec.nets.loading.device_config import DeviceConfig
from codec.options import Schedule


def main() -> None:
    """Measure, print, and write what was asked for."""
    arguments = _arguments()
    if arguments.plot:
        require_plots(arguments.plot)
    config = DeviceConfig(arguments.device, arguments.dtype, arguments.compile)
    device, dtype = config.resolve()
    on_gpu = device.type == "cuda"
    subject = Subject(arguments.networks or (Subject.FULL if on_gpu else Subject.LITE))
    size = arguments.size or (512 if subject is Subject.FULL else 128)
    own = Precision(device, dtype, is_compiled=config.is_compiled, is_graphed=arguments.graphs and on_gpu)
    rows: list[dict[str, Any]] = []
    if arguments.stages:
        rows = measure_stages(Subject.FULL if subject is Subject.LITE else subject, own, size)
    else:
        trial = Trial(
            subject,
            own,
            getattr(torch, arguments.half),
            size,
            Schedule(arguments.schedule),
            arguments.requests,
            arguments.load,
            arguments.steps,
        )
        for row in compare(trial, [Way(each) for each in arguments.ways]):
            rows.append(row)
            # Whoever ends the run early keeps what was measured until then.
            _write(arguments.json, rows)
            print(_line(row), flush=True)
    print_rows(rows)
    _write(arguments.json, rows)
    if arguments.plot and not arguments.stages:
        plot_ways(arguments.plot, rows)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of rows that have the same columns."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    Console(width=max(180, Console().width)).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=[*Way], default=[*Way])
    parser.add_argument("--networks", choices=[*Subject])
    parser.add_argument("--size", type=int, help="of the square pictures (512 for full, else 128)")
    parser.add_argument("--schedule", choices=[*Schedule], default=str(Schedule.FAST))
    parser.add_argument("--steps", type=int, help="of the last pass, instead of the schedule's own")
    parser.add_argument("--requests", type=int, default=32, help="in each measurement (32)")
    parser.add_argument("--load", type=float, nargs="*", default=[0.5, 0.8, 2.0], help="(0.5 0.8 2)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"], help="of static and engine")
    parser.add_argument(
        "--half", default="bfloat16", choices=["bfloat16", "float16", "float32"], help="type of the way half"
    )
    parser.add_argument("--compile", action="store_true", help="networks of static and engine")
    parser.add_argument("--graphs", action="store_true", help="static and engine replay steps on a GPU")
    parser.add_argument("--stages", action="store_true", help="each stage once, with its memory")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".png, .svg or .pdf")
    return parser.parse_args()


def _line(row: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_shown(value)}" for name, value in row.items())


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write(file: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    if file is not None:
        file.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
