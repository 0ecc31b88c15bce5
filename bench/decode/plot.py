"""The figures of a comparison as a picture: pictures a second of each way, and how long they wait at each load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.metrics.plot import require_plots

_PANEL_INCHES = (5.2, 3.8)


def plot_ways(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one line of panels. Raises OptionError for a name of another kind of file, FeatureUnavailable without
    matplotlib, OSError where the file cannot be written."""
    require_plots(file)
    from matplotlib.figure import Figure

    ways = list(dict.fromkeys(str(row["way"]) for row in rows))
    figure = Figure(figsize=(2 * _PANEL_INCHES[0], _PANEL_INCHES[1]), layout="constrained")
    rates, waits = figure.subplots(1, 2)
    at_once = {str(row["way"]): row for row in rows if not row["load"]}
    bars = rates.bar(ways, [at_once[way]["pictures_per_second"] if way in at_once else 0.0 for way in ways])
    shares = [f"{at_once[way]['ceiling_share']:.0%}" if way in at_once else "" for way in ways]
    rates.bar_label(bars, shares)
    rates.set_title("pictures a second, all at once, and share of the ceiling")
    for way in ways:
        line = sorted((row["load"], row["p50"], row["p95"]) for row in rows if row["way"] == way and row["load"])
        loads, halves, most = zip(*line, strict=True) if line else ((), (), ())
        (drawn,) = waits.plot(loads, most, marker="o", label=way)
        waits.plot(loads, halves, linestyle=":", color=drawn.get_color())
    waits.set_xlabel("load, as a share of one after the other")
    waits.set_ylabel("seconds")
    waits.set_title("waiting at each load: p95, dotted p50")
    waits.set_yscale("log")
    waits.legend()
    first = rows[0]
    figure.suptitle(f"{first['networks']}, {first['size']} x {first['size']}, {first['schedule']}")
    figure.savefig(file, dpi=120)
