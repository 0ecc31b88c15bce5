"""Draw the curves of runs from their logs: a panel for each value that they log.

python -m training.curves docs/lite/*.jsonl --out docs/lite/curves.svg
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same logs give the same file.
matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "curves"}

from matplotlib import pyplot  # noqa: E402 - after the choice of what it draws with


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(prog="python -m training.curves", description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs = {log.stem: [json.loads(line) for line in log.read_text().splitlines()] for log in arguments.logs}
    values = sorted({key for lines in runs.values() for line in lines for key in line} - {"step", "minutes"})
    figure, panels = pyplot.subplots(1, len(values), figsize=(4 * len(values), 3), squeeze=False)
    for panel, value in zip(panels[0], values, strict=True):
        for name, lines in runs.items():
            shown = [line for line in lines if value in line]
            if shown:
                panel.plot([line["step"] for line in shown], [line[value] for line in shown], label=name, linewidth=1)
        panel.set(title=value, xlabel="step")
        panel.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(arguments.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
