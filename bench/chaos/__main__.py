"""`python -m bench.chaos`: the whole service at full size under steady submission and a seeded plan of faults.

Exit status 1 when a job was lost, wrong, stuck or failed without being poison, or when an object was left over.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from bench.chaos.faults import FAULTS
from bench.chaos.plan import make_plan
from bench.chaos.report import print_outcome, to_json
from bench.chaos.run import RunOptions, run
from core.settings import WorkerSettings

_WIDTH = 130
"""For the table of faults, also where the output is no terminal."""


def main() -> int:
    """Run and report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos",
        description=__doc__,
        epilog=f"Kinds of faults: {', '.join(FAULTS)}.",
    )
    parser.add_argument("--jobs", type=int, default=150, help="encodes to submit; one in eight is decoded too")
    parser.add_argument("--faults", type=int, default=10, help="faults; 40 or more include 5 minutes without the store")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same orders and the same plan")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="comma-separated kinds to draw from")
    parser.add_argument("--scale", type=float, default=1.0, help="shortens faults that last, and the pauses between")
    default_lease = WorkerSettings.model_fields["lease"].default.total_seconds()
    parser.add_argument("--lease", type=float, default=default_lease, help="seconds of MISC_WORKER_LEASE")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--keep", type=Path, help="a new folder for logs and data, which stays")
    arguments = parser.parse_args()
    # Processes and mounts are given back by the blocks that took them, which a plain SIGTERM would pass by.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kinds = [kind.strip() for kind in arguments.kinds.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown or not kinds:
        parser.error(f"there is no kind {', '.join(unknown) or 'to draw from'}; there are {', '.join(FAULTS)}")
    if arguments.keep is not None and arguments.keep.exists():
        parser.error(f"{arguments.keep} is there already; name a new folder")
    plan = make_plan(arguments.faults, arguments.seed, kinds, arguments.scale)
    console, started = Console(width=_WIDTH), time.monotonic()
    options = RunOptions(arguments.jobs, arguments.seed, plan, arguments.lease, arguments.keep)
    outcome = run(
        options,
        lambda text: console.print(f"[dim]{time.monotonic() - started:6.1f} s[/]  {text}", highlight=False),
    )
    print_outcome(outcome, console)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(to_json(outcome), indent=2))
    return 0 if outcome.verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
