"""Rate and quality as curves, one panel a metric. Draws into a file and needs no display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.errors import FeatureUnavailable, OptionError

SUFFIXES = (".png", ".svg", ".pdf")
_PANEL_INCHES = (4.6, 3.8)
_COLUMNS = 3
_MARKS = "osD^vPX*"


def require_plots(file: Path) -> None:
    """Raise OptionError for a name of another kind of file, FeatureUnavailable without matplotlib."""
    if file.suffix.lower() not in SUFFIXES:
        raise OptionError(f"A plot is written as {', '.join(SUFFIXES)}, not as {file.name}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise FeatureUnavailable("A plot needs matplotlib: pip install 'misc-archive[eval]'.") from None


def plot_rates(file: Path, summary: Sequence[Mapping[str, Any]], is_distance: Mapping[str, bool], title: str) -> None:
    """Write the curves of a summary; a metric's panel says which way is better. Errors as `require_plots`, and OSError
    where the file cannot be written."""
    require_plots(file)
    from matplotlib.figure import Figure

    names = [name for name in is_distance if any(entry["metrics"].get(name) is not None for entry in summary)]
    columns = min(_COLUMNS, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), layout="constrained")
    codecs = list(dict.fromkeys(str(entry["codec"]) for entry in summary))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, name in zip(panels, names, strict=False):
        for number, codec in enumerate(codecs):
            points = [
                (entry["bpp"], entry["metrics"][name])
                for entry in summary
                if entry["codec"] == codec and entry["metrics"].get(name) is not None
            ]
            if points:
                bpp, values = zip(*sorted(points), strict=True)
                panel.plot(bpp, values, marker=_MARKS[number % len(_MARKS)], label=codec)
        panel.set_xlabel("bits per pixel, whole files")
        panel.set_ylabel(f"{name} ({'less' if is_distance[name] else 'more'} is better)")
        panel.grid(alpha=0.3)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    figure.suptitle(title)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
