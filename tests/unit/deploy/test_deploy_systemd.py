"""The systemd units: what they start exists, who they run as, and how long they have to stop."""

import configparser
from pathlib import Path

import pytest

from core.broker import QUEUES
from core.settings import WorkerSettings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.iterdir())


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FOLDER / name)
    return parser


def test_units_start_the_processes_of_the_service() -> None:
    commands = {name: unit(name)["Service"]["ExecStart"].removeprefix("/opt/misc/bin/python -m ") for name in UNITS}
    assert commands == {
        "misc-api.service": "api",
        "misc-migrate.service": "migrations --wait 60",
        "misc-worker@.service": "workers %i",
    }
    assert set(QUEUES) == {"encode", "decode", "maintenance"}, "the instances that the unit's comment names"


@pytest.mark.parametrize("name", UNITS)
def test_unit_runs_without_rights_and_writes_only_where_it_may(name: str) -> None:
    service = unit(name)["Service"]
    assert service["User"] == "misc"
    for option, value in {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes"}.items():
        assert service[option] == value
    assert service["EnvironmentFile"] == "/etc/misc/environment", "secrets are in no unit"


@pytest.mark.parametrize("name", [name for name in UNITS if name != "misc-migrate.service"])
def test_process_comes_back_and_waits_for_the_tables(name: str) -> None:
    parsed = unit(name)
    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Unit"]["Requires"] == "misc-migrate.service"
    assert "misc-migrate.service" in parsed["Unit"]["After"].split()


def test_worker_has_more_time_than_it_takes_to_hand_its_jobs_over() -> None:
    service = unit("misc-worker@.service")["Service"]
    variable, _, value = service["Environment"].partition("=")
    assert variable == "MISC_WORKER_SOFT_SHUTDOWN"
    patience = WorkerSettings(soft_shutdown=value).soft_shutdown.total_seconds()
    assert patience <= int(service["TimeoutStopSec"]) - 15
