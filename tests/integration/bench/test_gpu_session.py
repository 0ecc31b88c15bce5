"""The session for a machine with a GPU, run with tiny networks on a processor: the same script, parts and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.decode.summary import verdicts

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(900)
def test_a_session_leaves_figures_plots_and_a_summary(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"OUT": str(tmp_path), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    script = [ROOT / "bench" / "gpu_session.sh", "--tiny"]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    told = ended.stdout + ended.stderr + "".join(file.read_text() for file in tmp_path.glob("*.txt"))
    assert ended.returncode == 0, told
    assert (tmp_path / "session.txt").read_text().count("status 0") == 3, told
    staged = json.loads((tmp_path / "staged-512.json").read_text())
    assert [row["way"] for row in staged] == ["half", "published", "static", "engine"]
    assert {row["stage"] for row in json.loads((tmp_path / "stages.json").read_text())} == {
        "clean", "encode", "diffuse", "decode"
    }  # fmt: skip
    for plot in ("staged-512.png", "fast-512.png"):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
    summary = (tmp_path / "summary.txt").read_text()
    assert "engine over published way" in summary and "share of the ceiling" in summary


def test_no_part_may_take_the_session_past_ten_minutes() -> None:
    script = (ROOT / "bench" / "gpu_session.sh").read_text()
    full = script[script.index("nvidia-smi") :]
    limits = [int(line.split()[2]) for line in full.splitlines() if line.split()[:1] in (["part"], ["decode"])]
    assert len(limits) == 6 and sum(limits) <= 590 - 3 * len(limits) - 10


def test_verdicts_take_the_best_run_of_a_way_with_all_requests_at_once() -> None:
    def _row(way: str, rate: float, load: float = 0.0, size: int = 512) -> dict[str, object]:
        return {"way": way, "pictures_per_second": rate, "load": load, "size": size, "ceiling_share": rate / 10}

    parts = {
        "fast-1024": [_row("engine", 1.5, size=1024)],
        "fast-512": [_row("engine", 5.0), _row("engine", 9.0, load=2.0)],
        "staged-512": [_row("published", 0.25), _row("engine", 2.0)],
        "staged-512-compiled": [_row("engine", 3.0)],
    }
    assert verdicts(parts) == [
        "staged, engine over published way: 12.0 times (asked 10)",
        "staged, share of the ceiling: 30.0% (asked 45%)",
        "fast, 1024 x 1024: 1.50 pictures a second",
        "fast, 512 x 512: 5.00 pictures a second (asked 4)",
    ]
