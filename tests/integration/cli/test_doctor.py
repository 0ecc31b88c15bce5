"""What the doctor says of machines that lack something: which line, and what to do about it."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.doctor import machine, parts
from cli.doctor.check import Check
from cli.doctor.machine import local_checks
from cli.main import build_app
from tests.lmm_server.server import LMMTestServer


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MISC_BROKER_URL", "MISC_DATABASE_URL", "MISC_STORAGE_PATH", "MISC_STORAGE_BACKEND", "MISC_SERVER"):
        monkeypatch.delenv(name, raising=False)


def _by_name(data: Path) -> dict[str, Check]:
    return {check.name: check for check in local_checks(data)}


def test_whole_machine_is_well_and_asking_creates_nothing(tmp_path: Path) -> None:
    found = _by_name(tmp_path / "not" / "there")

    assert [check.name for check in found.values() if check.is_essential and not check.is_well] == []
    assert {"python", "redis", "database", "storage", "codec", "weights", "gpu", "clock"} <= set(found)
    assert {f"reads {name}" for name in ("JPEG", "PNG", "WebP", "AVIF", "JPEG XL", "HEIC")} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    found = _by_name(tmp_path / "data")

    assert not found["database"].is_well
    assert not found["storage"].is_well
    assert "--data" in found["database"].advice


def test_disk_without_wal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Drive(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if "journal_mode" in sql:
                raise sqlite3.OperationalError("locking protocol")
            return super().execute(sql, *parameters)

    monkeypatch.setattr(parts.sqlite3, "connect", _Drive)

    database = _by_name(tmp_path)["database"]

    assert not database.is_well
    assert "locking protocol" in database.detail
    assert "network drives" in database.advice


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("MISC_BROKER_URL", "redis://127.0.0.1:1/0", "redis"),
        ("MISC_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none", "database"),
        ("MISC_STORAGE_PATH", "/proc/nowhere", "storage"),
    ],
)
def test_configured_part_that_does_not_answer_is_told_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str
) -> None:
    monkeypatch.setenv(name, value)

    found = _by_name(tmp_path)[check]

    assert not found.is_well
    assert found.is_essential
    assert name in found.advice


def test_report_names_what_is_broken_and_ends_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_BROKER_URL", "redis://127.0.0.1:1/0")

    done = CliRunner().invoke(build_app(), ["doctor", "--data", str(tmp_path), "--json"])

    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert report["ok"] is False
    assert [check["name"] for check in report["checks"] if check["essential"] and not check["ok"]] == ["redis"]
    assert "not well: redis" in done.stderr


def test_missing_plugin_of_a_rare_format_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.importlib.import_module

    def _import(name: str) -> object:
        if name.startswith("pillow_heif"):
            raise ImportError("No module named 'pillow_heif'")
        return real(name)

    monkeypatch.setattr(machine.importlib, "import_module", _import)

    found = _by_name(tmp_path)["reads HEIC"]

    assert not found.is_well
    assert not found.is_essential
    assert found.advice == "Run: pip install pillow-heif, if you have HEIC pictures"


def test_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        build_app(), ["doctor", "--data", str(tmp_path), "--server", "http://127.0.0.1:1", "--json"]
    )

    report = json.loads(done.stdout)
    assert done.exit_code == 1
    server = report["checks"][-1]
    assert (server["name"], server["ok"]) == ("server", False)
    assert "misc up" in server["advice"]


@pytest.mark.parametrize(
    ("overall", "is_well", "word"),
    [
        (
            "The left half of the picture is bright red, the right half is a deep blue, with one sharp edge.",
            True,
            "saw",
        ),
        ("A quiet harbour at dawn with three boats in still water and a long wall.", False, "red and blue"),
        ("I don't see any image in your message, please upload it again.", False, "sees no picture"),
    ],
)
def test_model_is_shown_a_picture_of_known_content(
    monkeypatch: pytest.MonkeyPatch, overall: str, is_well: bool, word: str
) -> None:
    with LMMTestServer() as server:
        server.play(then={"play": "say", "text": json.dumps({"overall": overall})})
        monkeypatch.setenv("MISC_LMM_BASE_URL", server.base_url)
        [check] = machine._model()
        assert (check.name, check.is_well, check.is_essential) == ("language model", is_well, False)
        assert word in check.detail
    monkeypatch.delenv("MISC_LMM_BASE_URL")
    assert list(machine._model()) == []
