"""The outcome of a run as tables and as JSON."""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.chaos.faults import FAULTS
from bench.chaos.run import Outcome

_MOST_FINDINGS = 40


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Faults with their slowest recovery, what clients were answered, findings, and the line that sums it up."""
    figures = to_json(outcome)
    table = Table(title=f"{figures['jobs']} jobs, {len(outcome.blows)} faults, seed {outcome.seed}")
    table.add_column("kind")
    table.add_column("fault")
    for column in ("times", "jobs open", "slowest recovery s", "exchanges hit"):
        table.add_column(column, justify="right")
    for row in figures["faults"]:
        table.add_row(
            row["kind"],
            FAULTS[row["kind"]].title,
            str(row["times"]),
            str(row["waiting"]),
            f"{row['slowest_recovery_seconds']:.1f}",
            str(row["disturbed_exchanges"] or ""),
        )
    console.print(table)
    answers = ", ".join(f"{name} x {count}" for name, count in sorted(figures["responses"].items()))
    console.print(f"answers: {answers}", highlight=False)
    console.print(
        f"jobs: {figures['states']}; attempts of one job: at most {figures['most_attempts']}; "
        f"submit p50 {figures['submit_p50_seconds']:.2f} s, slowest {figures['submit_slowest_seconds']:.1f} s; "
        f"{figures['streams_checked']} streams, {figures['pictures_checked']} pictures, "
        f"{figures['objects_checked']} objects checked; {outcome.seconds:.0f} s in all",
        highlight=False,
    )
    verdict = outcome.verdict
    for name in ("lost", "wrong", "stuck", "orphans", "failed"):
        findings = getattr(verdict, name)
        for finding in findings[:_MOST_FINDINGS]:
            console.print(f"[red]{name}[/]: {finding}", highlight=False)
        if len(findings) > _MOST_FINDINGS:
            console.print(f"[red]{name}[/]: and {len(findings) - _MOST_FINDINGS} more")
    console.print(f"[bold {'green' if verdict.is_clean else 'red'}]{verdict.summary}[/]", highlight=False)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """All figures of a run."""
    accepted = outcome.ledger.accepted()
    states: dict[str, int] = {}
    for order in accepted:
        name = f"poison {order.state}" if order.is_poison else str(order.state)
        states[name] = states.get(name, 0) + 1
    submits = sorted(outcome.ledger.submit_seconds) or [0.0]
    verdict = outcome.verdict
    return {
        "seed": outcome.seed,
        "seconds": outcome.seconds,
        "jobs": len(accepted),
        "states": states,
        "most_attempts": max((order.attempts for order in accepted), default=0),
        "submit_p50_seconds": statistics.median(submits),
        "submit_slowest_seconds": submits[-1],
        "responses": dict(outcome.ledger.responses),
        "faults": [_fault_row(outcome, kind) for kind in FAULTS if any(b.fault.kind == kind for b in outcome.blows)],
        "blows": [
            {
                "kind": blow.fault.kind,
                "seconds": blow.over_at - blow.began_at,
                "waiting": blow.waiting,
                "recovery_seconds": blow.recovery_seconds,
                "disturbed_exchanges": blow.disturbed_exchanges,
            }
            for blow in outcome.blows
        ],
        "streams_checked": verdict.streams_checked,
        "pictures_checked": verdict.pictures_checked,
        "objects_checked": verdict.objects_checked,
        "summary": verdict.summary,
        "findings": {name: getattr(verdict, name) for name in ("lost", "wrong", "stuck", "orphans", "failed")},
    }


def _fault_row(outcome: Outcome, kind: str) -> dict[str, Any]:
    blows = [blow for blow in outcome.blows if blow.fault.kind == kind]
    return {
        "kind": kind,
        "times": len(blows),
        "waiting": max(blow.waiting for blow in blows),
        "slowest_recovery_seconds": max(blow.recovery_seconds for blow in blows),
        "disturbed_exchanges": sum(blow.disturbed_exchanges for blow in blows),
    }
