"""How people say when something is wanted."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.server.remote import Priority, urgency


def test_nothing_is_said_of_what_nobody_gave() -> None:
    assert urgency(None, None) == {}
    assert urgency(Priority.BULK, None) == {"priority": "bulk"}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("0s", 0)])
def test_deadline_may_be_so_long_from_now(text: str, seconds: int) -> None:
    said = datetime.fromisoformat(urgency(None, text)["deadline"])
    assert abs(said - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)


def test_deadline_may_be_a_time_with_an_offset_or_this_machines() -> None:
    assert urgency(None, "2026-12-01T08:00:00+01:00") == {"deadline": "2026-12-01T07:00:00+00:00"}
    here = datetime(2026, 12, 1, 8).astimezone()
    assert datetime.fromisoformat(urgency(None, "2026-12-01T08:00")["deadline"]) == here


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5", "10 m", "9999999d", "0001-01-01T00:00+14:00", "2026-13-01"])
def test_what_is_no_time_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        urgency(None, text)
    assert ended.value.exit_code == 2
    assert "--deadline takes" in capsys.readouterr().err
