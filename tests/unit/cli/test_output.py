"""No command is silent for long, whether or not a terminal shows a bar."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from cli import main, output
from cli.doctor import machine
from cli.doctor.check import Check
from cli.up.data_folder import StackError
from cli.up.stack import EmbeddedStack

Misc = Callable[..., Result]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output.SILENCE_SECONDS <= 5
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


def test_words_of_a_part_stand_in_for_those_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with output.told_now_and_then(lambda: "still at work ..."):
        time.sleep(0.1)
        with output.progress_bar(1, "Encoding"):
            output.say("part")
            time.sleep(0.1)
        output.say("whole")
        time.sleep(0.1)
    before, _, rest = capsys.readouterr().err.partition("part\n")
    during, _, after = rest.partition("whole\n")
    assert set(before.splitlines()) == set(after.splitlines()) == {"misc: still at work ..."}
    assert "misc: Encoding ... 0 of 1 done" in during.splitlines()


def test_nothing_is_told_beside_a_bar_or_once_all_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    with output.told_now_and_then(lambda: "still at work ..."), output.nothing_told():
        capsys.readouterr()
        time.sleep(0.1)
        assert capsys.readouterr().err == ""


def test_bytes_of_a_file_are_told_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.byte_bar("Fetching sd21-base") as bar:
        bar.stand(3_000_000, None)
        bar.add(4_000_000)
        time.sleep(0.1)
    assert "misc: Fetching sd21-base ... 7 MB done" in capsys.readouterr().err.splitlines()


def test_every_command_says_that_it_is_at_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "build_app", lambda: partial(time.sleep, 0.1))
    main.main()
    assert "misc: still at work ..." in capsys.readouterr().err.splitlines()


def test_start_of_the_service_says_what_it_waits_for(
    misc: Misc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wait(stack: EmbeddedStack, *_: object, **__: object) -> None:
        stack.waits_for = "a worker of the queue 'decode'"
        time.sleep(0.2)
        raise StackError("none came")

    monkeypatch.setattr(EmbeddedStack, "start", lambda _: time.sleep(0.1))
    monkeypatch.setattr(EmbeddedStack, "wait_ready", wait)
    told = misc("up", "--data", tmp_path).stderr
    assert "misc: waiting for its data folder (0 s)" in told
    assert "misc: waiting for a worker of the queue 'decode' (0 s)" in told


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
