"""An application on a migrated SQLite file and a folder, without Redis: what it takes is safe in the database."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.app import create_app
from api.services import Services
from core.database import Database
from core.picture_reader import DirectPictureReader
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings
from models import Base


@pytest.fixture
def database_settings(migrated_file: Path, tmp_path: Path) -> DatabaseSettings:
    """A database of its own for each test."""
    shutil.copy(migrated_file, tmp_path / "misc.db")
    return DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads lie while they are received; a folder that a test can look into."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def objects_folder(tmp_path: Path) -> Path:
    """The storage's folder."""
    return tmp_path / "objects"


Opener = Callable[..., TestClient]


@pytest.fixture
def open_client(database_settings: DatabaseSettings, objects_folder: Path, tmp_path: Path) -> Iterator[Opener]:
    """Opens an application with other settings than the defaults; all are closed with the test."""
    opened: list[TestClient] = []

    def _open(host: str = "localhost", **settings: object) -> TestClient:
        services = Services.open(
            APISettings(**settings),  # type: ignore[arg-type]
            database_settings,
            BrokerSettings(url=f"redis+socket://{tmp_path}/nobody-listens.sock"),
            StorageSettings(path=objects_folder),
            WorkerSettings(),
        )
        # The tests of this ring start no processes; tests/integration/test_picture_reader.py does.
        services = replace(services, pictures=DirectPictureReader())
        client = TestClient(create_app(services), base_url=f"http://{host}")
        client.__enter__()
        opened.append(client)
        return client

    yield _open
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(open_client: Opener) -> TestClient:
    """The application with default settings."""
    return open_client()


@pytest.fixture
def database(client: TestClient) -> Database:
    """The application's own database."""
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services.database


@pytest.fixture
def services(client: TestClient) -> Services:
    """The application's own services."""
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


@pytest.fixture
def assert_nothing_left(database: Database, objects_folder: Path, temporary_folder: Path) -> Callable[..., None]:
    """Checks that no table has a row (`but` one where that is named), the storage no object and the temporary folder no
    file."""

    def _check(but: str | None = None) -> None:
        with database.read() as session:
            rows = {
                table.name: session.scalar(select(func.count()).select_from(table))
                for table in Base.metadata.sorted_tables
                if table.name != but
            }
        assert not any(rows.values()), rows
        assert [path for path in objects_folder.rglob("*") if path.is_file()] == []
        assert list(temporary_folder.iterdir()) == []

    return _check
