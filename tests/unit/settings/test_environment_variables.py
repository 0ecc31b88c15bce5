"""Variables as the places set them where services run: hosts' database URLs, injected addresses, empty values."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from cli.local.paths import with_home
from codec.weights.store import HOMELESS, default_folder
from core.errors import SettingsInvalid
from core.settings import (
    APISettings,
    BrokerSettings,
    DatabaseSettings,
    LMMSettings,
    LogSettings,
    StorageSettings,
    TempSettings,
    WorkerSettings,
    load,
    sqlite_url,
)
from core.temp_files import use_temp_folder
from deploy.healthcheck import port_of


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_known_by_all_its_names(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("MISC_DATABASE_URL", f"{scheme}://u:p%40@host:5433/archive?sslmode=require&connect_timeout=3")
    url = make_url(load(DatabaseSettings).url)
    assert (url.drivername, url.host, url.port, url.password) == ("postgresql+psycopg", "host", 5433, "p@")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://u:secret@host/db", "postgresql://"),
        ("postgresql+asyncpg://u:secret@host/db", "postgresql://"),
        ("archive.db", "sqlite:///"),
        ("postgresql://u:secret@host:port/db", "%40"),
        ("postgresql://u:secret@host/db?pgbouncer=true", "pgbouncer"),
        ("sqlite:///archive.db?foo=1", "foo"),
    ],
)
def test_url_that_is_not_understood_is_refused_in_a_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    monkeypatch.setenv("MISC_DATABASE_URL", url)
    with pytest.raises(SettingsInvalid) as caught:
        load(DatabaseSettings)
    assert str(caught.value).startswith("MISC_DATABASE_URL: ")
    assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def test_empty_url_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_DATABASE_URL", "")
    assert load(DatabaseSettings).url == DatabaseSettings.model_fields["url"].default


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41", "a b", "a%", "ä", "a@b:c"])
def test_path_with_odd_characters_is_that_of_the_database(name: str) -> None:
    path = Path("/data") / name / "misc.db"
    assert make_url(DatabaseSettings(url=sqlite_url(path)).url).database == str(path)


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:8000", "udp://10.0.0.1:53", ""])
def test_address_that_kubernetes_injects_as_the_port_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MISC_API_PORT", value)
    assert load(APISettings).port == 8000
    assert port_of(value) == 8000


def test_port_that_is_none_is_refused_and_one_that_is_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_API_PORT", "8001")
    assert load(APISettings).port == port_of("8001") == 8001
    monkeypatch.setenv("MISC_API_PORT", "http")
    with pytest.raises(SettingsInvalid, match="MISC_API_PORT"):
        load(APISettings)


def test_root_path_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, path in (("", ""), ("/", ""), ("/misc/", "/misc"), ("/a/b.c", "/a/b.c")):
        monkeypatch.setenv("MISC_API_ROOT_PATH", value)
        assert load(APISettings).root_path == path
    for value in ("misc", "/a b", "/a//b", "http://host/misc", "/<x>"):
        monkeypatch.setenv("MISC_API_ROOT_PATH", value)
        with pytest.raises(SettingsInvalid, match="MISC_API_ROOT_PATH"):
            load(APISettings)


def test_temporary_folder_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="MISC_TEMP_PATH"):
        use_temp_folder(TempSettings(path=tmp_path / "file" / "below"))


def test_user_without_a_home_gets_a_folder_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("could not determine the home directory")

    assert with_home(homeless) == with_home(lambda: Path("~/.local/share")) == HOMELESS
    assert with_home(lambda: Path("/home/x")) == Path("/home/x")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder() == HOMELESS / "weights"


@pytest.mark.parametrize(
    ("kind", "variable", "value", "field", "meant"),
    [
        (DatabaseSettings, "MISC_DATABASE_URL", "postgres://u:p@h/d\n", "url", "postgresql+psycopg://u:p@h/d"),
        (DatabaseSettings, "MISC_DATABASE_URL", "POSTGRESQL://u:p@h/d", "url", "postgresql+psycopg://u:p@h/d"),
        (BrokerSettings, "MISC_BROKER_URL", " redis://h:6379/1\r\n", "url", "redis://h:6379/1"),
        (StorageSettings, "MISC_STORAGE_ENDPOINT_URL", "http://h:9000\n", "endpoint_url", "http://h:9000"),
        (LMMSettings, "MISC_LMM_BASE_URL", "http://h/v1\n", "base_url", "http://h/v1"),
        (LogSettings, "MISC_LOG_LEVEL", "INFO", "level", "info"),
        (LogSettings, "MISC_LOG_LEVEL", "", "level", "info"),
        (WorkerSettings, "MISC_WORKER_METRICS_PORT", "tcp://10.0.0.1:9100", "metrics_port", 0),
        (WorkerSettings, "MISC_WORKER_METRICS_PORT", "", "metrics_port", 0),
        (APISettings, "MISC_API_HOST", "", "host", "127.0.0.1"),
    ],
)
def test_value_is_what_was_meant_by_it(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], variable: str, value: str, field: str, meant: object
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(load(kind), field) == meant


def test_secrets_end_before_the_line_break_of_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_LMM_API_KEY", "sk-key\n")
    monkeypatch.setenv("MISC_STORAGE_ACCESS_KEY", "access\n")
    monkeypatch.setenv("MISC_STORAGE_SECRET_KEY", "secret\n")
    secrets = (load(LMMSettings).api_key, load(StorageSettings).secret_key)
    assert [secret and secret.get_secret_value() for secret in secrets] == ["sk-key", "secret"]
