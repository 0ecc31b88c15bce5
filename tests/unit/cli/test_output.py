"""No command is silent for long, whether or not a terminal shows a bar."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from cli import output
from cli.doctor import machine
from cli.doctor.check import Check

Misc = Callable[..., Result]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output.SILENCE_SECONDS <= 15
    monkeypatch.setattr(output, "SILENCE_SECONDS", 0.02)


@pytest.mark.parametrize("total", [1, 3])
def test_work_without_a_bar_is_told_now_and_then(capsys: pytest.CaptureFixture[str], total: int) -> None:
    with output.progress_bar(total, "Encoding") as bar:
        time.sleep(0.1)
        bar.advance("a.png")
        time.sleep(0.1)
    told = capsys.readouterr()
    assert told.out == "" and f"misc: Encoding ... 0 of {total} done" in told.err
    assert f"misc: Encoding ... 1 of {total} done" in told.err
    time.sleep(0.1)
    assert capsys.readouterr().err == "", "not a word after the end"


def test_short_pieces_of_work_do_not_add_up_to_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SILENCE_SECONDS", 0.3)
    output.say("begun")
    for _ in range(4):
        with output.progress_bar(1, "Sending"):
            time.sleep(0.2)
    assert capsys.readouterr().err.count("misc: Sending") >= 2


def test_doctor_tells_that_it_looks_while_stdout_stays_one_document(
    misc: Misc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def slow(data: Path) -> Iterator[Check]:
        yield Check("first", True, "well")
        time.sleep(0.2)
        yield Check("second", True, "well")

    monkeypatch.setattr(machine, "local_checks", slow)
    result = misc("doctor", "--data", tmp_path, "--json")
    assert result.exit_code == 0 and "Looking ... 1 checks done" in result.stderr
    assert [check["name"] for check in json.loads(result.stdout)["checks"]] == ["first", "second"]
