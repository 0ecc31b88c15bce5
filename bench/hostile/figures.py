"""The figures of a run, what is wrong with them, and how both are shown."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_LARGEST_MEMORY_GROWTH = 1.25
_LIMITS = {"healthz_p99_seconds": 0.5, "jobs_p99_seconds": 0.5, "submit_p99_seconds": 1.0}
_DELIBERATE = frozenset({202, 429, 503, 507})


def findings(figures: dict[str, Any]) -> list[str]:
    """A sentence for each limit that was passed."""
    found = [f"{name} is {figures[name]:.2f}" for name, most in _LIMITS.items() if figures[name] > most]
    found += [
        f"{count} answers {status}"
        for status, count in figures["answers"].items()
        if status.isdigit() and int(status) not in _DELIBERATE
    ]
    found += [
        f"{count} times {name}"
        for name, count in figures["answers"].items()
        if not name[:1].isdigit() and not name.endswith(" 200")
    ]
    if figures["unfinished"]:
        found.append(f"{figures['unfinished']} accepted jobs did not end")
    if figures["api_memory_largest_mib"] > figures["api_memory_settled_mib"] * _LARGEST_MEMORY_GROWTH:
        found.append("the APIs' memory grew")
    return found


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile; 0 where there is nothing to measure."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else sum(seconds)


def print_figures(figures: dict[str, Any], found: Sequence[str]) -> None:
    """A table, and the limits that were passed."""
    table = Table(title=f"{figures['connections']} connections, {figures['idle_connections']} idle or half-open beside")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value))
    console = Console(width=130)
    console.print(table)
    for finding in found:
        console.print(f"[red]{finding}[/]", highlight=False)
    console.print("[bold red]limits passed[/]" if found else "[bold green]all within limits[/]")
