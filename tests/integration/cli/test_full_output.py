"""The command where what it prints goes nowhere: a full device, a stream that was closed before it began."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("words", [("inspect", "{stream}"), ("inspect", "{stream}", "--json"), ("--version",)])
@pytest.mark.parametrize(
    ("stdout", "status", "said"), [("/dev/full", 1, "misc: The output: No space left on device.\n"), ("&-", 0, "")]
)
def test_output_that_takes_nothing_is_told_in_one_sentence(
    words: tuple[str, ...], stdout: str, status: int, said: str
) -> None:
    stream = next((Path(__file__).parents[2] / "golden").glob("*.misc"))
    call = shlex.join([sys.executable, "-m", "cli.main", *(word.format(stream=stream) for word in words)])
    ended = subprocess.run(["sh", "-c", f"{call} >{stdout}"], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (status, said)
