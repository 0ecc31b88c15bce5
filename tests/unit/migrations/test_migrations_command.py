"""`python -m migrations`: waiting for a database that does not answer yet."""

import pytest

import migrations.__main__ as command
import migrations.upgrade
from core.errors import DatabaseNewer, DatabaseUnavailable
from core.settings import DatabaseSettings

SETTINGS = DatabaseSettings(url="sqlite:///:memory:")


class Upgrades:
    """A database that answers from the third time on."""

    def __init__(self, error: Exception, failures: int = 2) -> None:
        self.calls, self._error, self._failures = 0, error, failures

    def __call__(self, _settings: DatabaseSettings) -> None:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(command.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def test_database_that_comes_up_meanwhile_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrades = Upgrades(DatabaseUnavailable("away"))
    monkeypatch.setattr(migrations.upgrade, "upgrade", upgrades)
    command.upgrade_when_there(SETTINGS, 60)
    assert upgrades.calls == 3


def test_patience_ends_and_is_none_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for patience, calls in ((0, 1), (5, 6)):
        upgrades = Upgrades(DatabaseUnavailable("away"), failures=1000)
        monkeypatch.setattr(migrations.upgrade, "upgrade", upgrades)
        with pytest.raises(DatabaseUnavailable):
            command.upgrade_when_there(SETTINGS, patience)
        assert upgrades.calls == calls


def test_database_that_cannot_be_used_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrades = Upgrades(DatabaseNewer("newer"))
    monkeypatch.setattr(migrations.upgrade, "upgrade", upgrades)
    with pytest.raises(DatabaseNewer):
        command.upgrade_when_there(SETTINGS, 60)
    assert upgrades.calls == 1


def test_wrong_words_are_refused_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["up"])
    assert ended.value.code == 2
    assert "usage: python -m migrations" in capsys.readouterr().err
